"""The command line as a user meets it."""

import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from node_cli.cli import tables
from node_cli.cli.compose import Composer
from node_cli.config.files import CONF, choices
from node_cli.config.schema import keys, sections
from node_cli.records.run_folder import RunFolder
from tests.commands import QUICK, NodeTrain, in_new_process

pytestmark = pytest.mark.usefixtures("undrawn")

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--help"], ["Usage: node-train", "solver ", "tsit5", "Examples", "node-train resume="]),
        (["--help", "sensitivity.norm"], ["default  ", "seminorm", "read by"]),
        (["--version"], ["node-train 0.1"]),
        (["--cfg", "job"], ["epochs: 30", "name: dopri5"]),
        (["--cfg", "job", "solver=rk4"], ["step_size: 0.1"]),
        (["--cfg", "job", "--package", "solver"], ["# @package solver", "tol: 0.001"]),
        (["--info", "defaults"], ["solver/dopri5"]),
        (["-sc", "install=bash"], ["complete "]),
    ],
)
def test_what_answers_without_torch(tmp_path: Path, arguments: list[str], shown: list[str]) -> None:
    code = "\n".join(
        [
            "import sys",
            f"sys.argv = ['node-train', *{arguments!r}]",
            "from node_cli.cli.main import main",
            "code = main()",
            "assert not {'torch', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules)",
            "sys.exit(code)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    for words in shown:
        assert words in done.stdout
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_a_package_that_is_not_there(node_train: NodeTrain) -> None:
    done = node_train("--cfg", "job", "--package", "nope")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: --package nope: not in the configuration\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("model=", {"model=conv", "model=dense"}),
        ("solver=do", {"solver=dopri5", "solver=dopri8"}),
        ("optimizer.l", {"optimizer.lr="}),
    ],
)
def test_tab_completion(tmp_path: Path, typed: str, offered: set[str]) -> None:
    done = in_new_process("-sc", "query=bash", cwd=tmp_path, COMP_LINE=f"node-train {typed}")
    assert offered <= set(done.out.split())


def test_help_names_every_choice_every_key_and_examples_that_compose(
    node_train: NodeTrain,
) -> None:
    text = node_train("--help").out
    words = [word.partition("=")[0].removesuffix(".OPTION") for word in text.split()]
    assert {*keys(), "resume", "hydra.run.dir", "hydra.sweep.dir"} <= {*words}
    for path in CONF.glob("*/*.yaml"):
        assert path.stem.startswith("_") or re.search(rf"\b{path.stem}\b", text)
    examples = re.findall(r"^  node-train(?: (\S.*?))?  .*$", text, re.MULTILINE)
    assert len(examples) == 20
    for example in examples:
        check_command(example.split())


def check_command(arguments: list[str]) -> None:
    """Compose and check a command from the documentation; RUN stands for a run folder."""
    if arguments[:1] in (["new"], ["report"]) or any(
        "RUN" in a or a.startswith(("resume=", "report=")) for a in arguments
    ):
        return
    flags = [a for a in arguments if a.startswith("-")]
    overrides = [a for a in arguments if not a.startswith(("-", "device=cuda"))]
    with Composer() as composer:
        typed = composer.parse(overrides)
        if table := typed.find("table"):
            tables.find([CONF], [table.value])
        else:
            composer.command(typed, multirun="-m" in flags)


def test_every_command_in_the_readme_composes() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\s*(?:\$ )?node-train( .*|)$", text, re.MULTILINE)
    assert len(commands) > 5
    for command in commands:
        arguments = command.split("#")[0].split()
        if not any("outputs/" in argument for argument in arguments):
            check_command(arguments)


def test_a_mistake_ends_with_2_and_writes_nothing(node_train: NodeTrain, tmp_path: Path) -> None:
    plain = [key for key in keys() if "." not in key]
    plain += [*sections(), "experiment", "table", "resume", "report"]
    result = node_train("model=convv", "epocs=3")
    assert result.code == 2
    assert result.out == ""
    assert result.err.splitlines() == [
        f"error: model=convv: choose from {', '.join(choices('model'))} (did you mean conv?)",
        f"error: epocs=3: no such key (did you mean epochs?); there are {', '.join(plain)}",
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "3"], "unrecognized arguments: --epochs"),
        (["--cfg", "job", "-m"], "--cfg, --info, --multirun: give one of them"),
        (["--experimental-rerun", "x.pickle"], "unrecognized arguments: --experimental-rerun"),
        (["--config-dir", "nowhere"], "--config-dir nowhere: no such folder"),
        (["model.field=conv"], "model.field=conv: needs an image [C, H, W], but the stem gives"),
        (["precision=tf32", "device=cpu"], "precision=tf32: cpu has none; choose from float32"),
        (["resume=nowhere"], "nowhere: not a run folder"),
        (["task=eval", "checkpoint=nowhere"], "/nowhere: no such file"),
        (["hydra.run.dir=file/below"], "folder file/below: not writable (Not a directory)"),
        (["hydra.run.dir=full"], "folder full: not empty; choose another (resume="),
        (["-m", "seed=1,-1"], "seed=-1: must be greater than or equal to 0"),
        (["-m", "seed=0,1", "hydra.run.dir=x"], "hydra.run.dir: not used with -m"),
        (["hydra.sweep.dir=x"], "hydra.sweep.dir: not used without -m"),
        (["-m", "resume=a,b"], "resume"),
        (["resume=full", "-m"], "resume=full: takes no flags"),
        (["resume="], "resume=: must be a path"),
        (["task=eval", "checkpoint="], "checkpoint=: must be a path"),
        (["hydra.run.dir="], "hydra.run.dir=: must be a folder"),
        (["hydra.launcher.x=1"], "hydra.launcher.x: not used without -m"),
        (["hydra.run.dirr=x"], "hydra.run.dirr=x: not to be set; of Hydra's there are"),
        (["experiment=x"], "experiment=x: choose from aca_node18, "),
        (["resume=runs"], "no config.yaml; the newest run in it is runs/a/b"),
        (["task=eval", "checkpoint=runs"], "/runs: not a run; the newest run in it is runs/a/b"),
        (["=", "epochs=3"], "=: not of the form key=value"),
        (["epochs=1\nseed=2"], r"epochs=1\nseed=2: not of the form key=value"),
    ],
)
def test_mistakes_at_the_door(
    node_train: NodeTrain, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "runs" / "a" / "b").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "b" / "status.json").touch()
    (tmp_path / "full" / "precious").touch()
    result = node_train(*arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_cuda_without_cuda(node_train: NodeTrain) -> None:
    result = node_train("device=cuda")
    assert (result.code, result.err) == (
        2,
        "error: device=cuda: not on this machine, which has cpu\n",
    )


def test_missing_data_names_the_folder_and_the_alternative(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    result = node_train("data=mnist", "data.root=empty", "data.download=false")
    assert result.code == 2
    assert f"data.root={tmp_path / 'empty'}: MNIST is missing" in result.err
    assert "data=digits" in result.err
    assert not (tmp_path / "outputs").exists(), "found out before the run begins"


def test_a_folder_with_spaces_and_quotes(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train(*QUICK, "hydra.run.dir='a b/it\\'s'").code == 0
    assert (tmp_path / "a b" / "it's" / "result.json").exists()


def test_folders_are_recorded_so_that_they_hold_anywhere(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    assert node_train(*QUICK, "hydra.run.dir=run").code == 0
    assert node_train("task=eval", "checkpoint=run", "hydra.run.dir=e").code == 0
    checkpoint = RunFolder(tmp_path / "e").read_config()["checkpoint"]
    assert checkpoint == str(tmp_path / "run")
    shown = node_train("--cfg", "job", "data=mnist", "data.root=images").out
    assert f"root: {tmp_path / 'images'}\n" in shown


def test_python_m_is_the_same_door(tmp_path: Path) -> None:
    result = in_new_process("model=convv", cwd=tmp_path)
    assert result.code == 2
    assert result.err.startswith("error: model=convv: choose from")


def test_the_process_is_left_as_it_was(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    formatwarning = warnings.formatwarning
    on_sigterm = signal.getsignal(signal.SIGTERM)
    for arguments in ([*QUICK, "hydra.run.dir=run"], ["--cfg", "hydra"], ["epocs=1"]):
        node_train(*arguments)
        assert sys.argv == ["node-train", *arguments]
        assert "HYDRA_FULL_ERROR" not in os.environ
        assert warnings.formatwarning is formatwarning
        assert signal.getsignal(signal.SIGTERM) == on_sigterm
