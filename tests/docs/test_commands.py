"""The commands of the documentation. Those that are cheap are run, in an empty folder; of the
others the configuration is composed and checked.

A command is cheap if it needs no download, GPU or compiler and starts at most three runs beside
those of other seeds, by what is typed. A few settings are added that make its trainings short. The
files that a page shows (a YAML block whose first line is ``# my/...``) are there, and so is the run
that the pages evaluate and resume.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path

import pytest
import yaml
from PIL import Image

from node_cli.cli import jobs
from node_cli.cli import tables as shipped
from node_cli.cli.compose import Composer
from node_cli.config.files import CONF
from node_cli.tasks import bare_f, check_gradients, profile, swap_solvers
from tests.commands import NodeTrain
from tests.docs import pages
from tests.packages import Installer

pytestmark = pytest.mark.usefixtures("undrawn")

OF_EXTRAS = ("hydra/launcher=", "tensorboard", "mlflow")
RUN = "outputs/2026-11-21/10-15-00-123456"
MOST_JOBS = 3

IMAGES = ["epochs=1", "data.limit=150"]
TRAJECTORY = ["epochs=1", "data.windows=2"]
GRADIENTS = ["data.limit=150", "batch_size=16"]

# Commands that train nothing, or go on with what is there.
AS_THEY_ARE = ("task=eval", "task=solver_swap", "task=predict", "task=export", "resume=", "report")

COSTLY = ("device=cuda", "precision=tf32", "compile=true", "model=conv_bn")
OFFLINE = (
    "data=digits",
    *("data=moons", "data=circles", "data=spirals2d"),
    "experiment=mine",
    "experiment=spiral_linear",
    "experiment=spiral_nonlinear",
)

DONE: set[tuple[str, ...]] = set()
"""Commands that have been run: several pages show the same ones."""

# What none of the runs here needs.
NO_PLOTS: Callable[..., None] = lambda *_: None  # noqa: E731

WITH_COMMANDS = [page for page in pages.PAGES if page.name != "CONTRIBUTING.md"]


@pytest.fixture
def folder(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Path], Path]]:
    """Makes the working directory that the commands of a page expect."""
    monkeypatch.setattr(jobs, "plot_run", NO_PLOTS)
    monkeypatch.setattr("node_cli.report.summary.plot_sweep", NO_PLOTS)
    monkeypatch.setattr(check_gradients, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(check_gradients, "LEAST_REPEATS", 1)
    monkeypatch.setattr(swap_solvers, "NUMBERS_OF_STEPS", (1,))
    monkeypatch.setattr(profile, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(bare_f, "LEAST_SECONDS", 0.0)
    logging.disable(logging.DEBUG)  # Hydra composes everything once more to log it

    def folder(page: Path) -> Path:
        for block in (block for each in pages.DOCS for block in pages.blocks(each, "yaml")):
            first, _, rest = block.partition("\n")
            assert yaml.safe_load(rest)
            path = tmp_path / first.removeprefix("# ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(rest)
        text = page.read_text(encoding="utf-8")
        if "images=pictures" in text:
            (tmp_path / "pictures").mkdir()
            Image.new("L", (28, 28)).save(tmp_path / "pictures" / "black.png")
        if RUN in text:
            result = node_train(*IMAGES, f"hydra.run.dir={RUN}")
            assert result.code == 0, result.err
        if "node-train report outputs " in text:
            assert node_train("-m", *IMAGES, "seed=0").code == 0
        return tmp_path

    yield folder
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=pages.name)
def test_commands(
    page: Path,
    folder: Callable[[Path], Path],
    node_train: NodeTrain,
    install: Installer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder(page)
    for words in pages.commands(page):
        match words:
            case ["node-train", "new", _]:
                assert node_train(*words[1:]).code == 0
            case ["pip", "install", "-e", name] if name.endswith("[test]"):
                install.register(tmp_path / name.removesuffix("[test]"))
            case ["python", "-m", "pytest", name] if (tmp_path / name / "tests").is_dir():
                pass  # a test of ``new`` runs them
            case ["node-train", *arguments]:
                if tuple(words) in DONE:
                    continue
                DONE.add(tuple(words))
                if "hydra/sweeper=optuna" in arguments:
                    monkeypatch.setattr("node_cli.cli.search.find_spec", lambda _: True)
                    check_composition(arguments)
                    continue
                if any(word in argument for argument in arguments for word in OF_EXTRAS):
                    check_composition([a for a in arguments if not a.startswith("hydra")])
                    continue
                if not is_cheap(arguments):
                    check_composition(arguments)
                    continue
                result = node_train(*shortened(arguments))
                assert result.code == 0, f"{' '.join(words)}: {result.err}"
            case ["python", script, *arguments]:
                text = (pages.REPOSITORY / script).read_text(encoding="utf-8")
                assert all(f'"{flag}"' in text for flag in arguments if flag.startswith("--"))
            case ["pytest", path, *_] if path.startswith("tests/"):
                assert (pages.REPOSITORY / path).exists()
            case ["pip", "install", name] if name.startswith("node-train["):
                extra = name.removeprefix("node-train[").removesuffix("]")
                assert extra in pages.EXTRAS
            case ["pip", "install", *_] | ["pytest", *_]:
                check_installation(words)
            case ["eval", _]:
                pass  # tab completion has tests of its own
            case _:
                pytest.fail(f"not a command that is known here: {' '.join(words)}")
    for block in pages.blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {})


def check_composition(arguments: Sequence[str]) -> None:
    """Compose and check every run that a command line starts. The shipped tables have a test of
    their own."""
    flags, overrides = split(arguments)
    if is_table(overrides):
        assert shipped.find([CONF], [overrides[0].removeprefix("table=")])
    elif not is_of_results(overrides):
        with Composer() as composer:
            composer.command(composer.parse(overrides), multirun="-m" in flags)


def is_table(overrides: Sequence[str]) -> bool:
    return any(o.startswith("table=") for o in overrides)


def is_of_results(overrides: Sequence[str]) -> bool:
    """Whether it is the command of RESULTS.md, whose runs are not here."""
    return any("outputs/tables" in o for o in overrides)


def is_cheap(arguments: Sequence[str]) -> bool:
    """Whether a command takes seconds and nothing that is not here."""
    flags, overrides = split(arguments)
    if any(flag in flags for flag in ("--help", "--cfg", "--info", "--config-dir")):
        return True
    if is_table(overrides) or is_of_results(overrides):
        return False
    data = [o for o in overrides if o.startswith(("data=", "experiment="))]
    runs = prod(o.count(",") + 1 for o in overrides if not o.startswith("seed="))
    costly = [o for o in overrides if o in COSTLY]
    return not costly and {*data} <= {*OFFLINE} and ("-m" not in flags or runs <= MOST_JOBS)


def shortened(arguments: Sequence[str]) -> list[str]:
    """A command with settings that make its trainings short; any other as it is."""
    flags, overrides = split(arguments)
    if any(flag in flags for flag in ("--help", "--cfg", "--info")):
        return [*arguments]
    if any(o.startswith(AS_THEY_ARE) for o in overrides):
        return [*arguments]
    shorter = IMAGES
    if {"task=check_gradients", "task=profile"} & {*overrides}:
        shorter = GRADIENTS
    elif any("=spiral" in o for o in overrides):
        shorter = TRAJECTORY
    if "-m" in flags or is_table(overrides):
        shorter = [*shorter, "seed=0"]
    keys = tuple(f"{override.partition('=')[0]}=" for override in shorter)
    return [a for a in arguments if not a.startswith(keys)] + shorter


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Flags, with what belongs to them, and overrides."""
    flags: list[str] = []
    overrides: list[str] = []
    for word in arguments:
        belongs = flags and flags[-1] in ("--cfg", "--info", "--config-dir")
        (flags if word.startswith("-") or belongs else overrides).append(word)
    return flags, overrides


def check_installation(words: list[str]) -> None:
    """Continuous integration installs and tests by the commands of the README; extras exist."""
    command = " ".join(words)
    project = (pages.REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    if ".[benchmarks]" in command:
        assert "\nbenchmarks = [" in project
    else:
        integration = (pages.REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
        said = integration.replace(" --quiet", "").replace('"', "")
        assert command in said


def test_commands_are_found() -> None:
    found = [words for page in WITH_COMMANDS for words in pages.commands(page)]
    assert sum(words[0] == "node-train" for words in found) > 40
