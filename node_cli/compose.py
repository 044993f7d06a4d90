"""From what the user typed to checked configurations, every mistake found before anything runs.

Hydra stops at the first mistake, accepts ``+epocs=3``, and meets some errors with a traceback. Here
each override is looked at first, and Hydra composes those that are sound.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from node_cli.config.checks import Tree, checked
from node_cli.config.messages import choose, unknown_key
from node_cli.config.schema import Config, keys, section_type
from node_cli.errors import UserError

# In a wheel the configuration lies inside the package, in a checkout beside it.
CONF = next(
    folder
    for folder in (Path(__file__).parent / "conf", Path(__file__).parent.parent / "conf")
    if folder.is_dir()
)

# What a user may set of Hydra's own: folders, and the plugins that launch sweeps.
HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep", "hydra.launcher", "hydra.sweeper", "hydra.searchpath")

# Where the code lies that launchers and sweepers may name.
PLUGINS = ("hydra.", "hydra_plugins.", "optuna.")

# An evaluation takes these from the command, all else from the checkpoint.
EVALUATION_KEYS = ("task", "checkpoint", "device", "deterministic")


@dataclass(frozen=True)
class Job:
    """One run to be: what was typed for it, its configuration, and notes for the user."""

    overrides: Sequence[str]
    config: Config
    notes: Sequence[str]


@dataclass(frozen=True)
class Command:
    """The jobs of one command line, the folder for it, and the overrides for Hydra to compose."""

    jobs: Sequence[Job]
    folder: Path
    overrides: Sequence[str]


def configure(tree: Tree, overrides: Sequence[str], *, in_sweep: bool) -> tuple[Config, list[str]]:
    """The checked configuration, and notes, of a composed tree and the overrides typed for it.

    Raises ``UserError`` with every problem.
    """
    tree = {key: value for key, value in tree.items() if key != "resume"}
    typed = _typed_keys(overrides)
    if tree.get("task") == "eval" and tree.get("checkpoint") is not None:
        tree = _over_checkpoint(tree, typed)
    return checked(tree, typed, in_sweep=in_sweep)


def _typed_keys(overrides: Sequence[str]) -> set[str]:
    parsed = OverridesParser.create().parse_overrides([*overrides])
    return {o.key_or_group for o in parsed if not o.key_or_group.startswith("hydra")}


def _over_checkpoint(tree: Tree, typed: set[str]) -> Tree:
    """The configuration in the checkpoint, what the user typed laid over it."""
    from node_cli.run import checkpoints

    own = sorted(key for key in typed if key.split(".")[0] not in Config.model_fields)
    if own:
        raise UserError(
            *(f"{key}: not used by task=eval, the checkpoint has its configuration" for key in own)
        )
    if "seed" in typed:
        raise UserError(f"seed={tree['seed']}: not used by task=eval, it belongs to the training")
    location = str(tree["checkpoint"])
    merged: Tree = checkpoints.load(checkpoints.find(location))["config"]
    for key in (*EVALUATION_KEYS, *sorted(typed)):
        section, _, name = key.rpartition(".")
        if section and merged.get(section) is not None:
            merged[section][name] = tree[section][name]
        else:
            merged[section or name] = tree[section or name]
    if _is_ode(merged):  # laid over a checkpoint without an ODE, it may lack them
        for section in ("solver", "sensitivity"):
            merged[section] = merged.get(section) or tree[section]
    return merged


def _is_ode(tree: Tree) -> bool:
    model = tree.get("model")
    return isinstance(model, dict) and model.get("core") == "ode"


class Composer:
    """Hydra over our configuration; ``config_dir``: a folder with further files of the user's."""

    def __init__(self, config_name: str | None = None, config_dir: str | None = None) -> None:
        self.config_name = config_name or "config"
        search_path = create_config_search_path(str(CONF))
        if config_dir is not None:
            if not Path(config_dir).is_dir():
                raise UserError(f"--config-dir {config_dir}: no such folder")
            search_path.prepend(
                provider="command-line",
                path=f"file://{Path(config_dir).absolute()}",
                anchor=SearchPathQuery(provider="schema"),
            )
        self.search_path = search_path

    def __enter__(self) -> "Composer":
        self.hydra = Hydra.create_main_hydra2("node-train", self.search_path)
        self.loader = self.hydra.config_loader
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        GlobalHydra.instance().clear()

    def command(self, overrides: Sequence[str], *, multirun: bool) -> Command:
        """Every job of a command line, checked. Raises ``UserError`` with every problem found."""
        problems: list[str] = []
        self.search_path_overrides = [o for o in overrides if o.startswith("hydra.searchpath=")]
        parsed = self._parsed(overrides, multirun, problems)
        trees = []
        for job in self._expanded(parsed):
            sound = [
                _forced(override)
                for override in self._parsed(job, multirun, problems)
                if self._sound(override, multirun, problems)
            ]
            try:
                cfg = self.hydra.compose_config(self.config_name, sound, RunMode.RUN)
                problems += _named_code(cfg)
                trees.append((sound, plain_tree(cfg)))
            except (HydraException, OmegaConfBaseException) as error:
                problems.append(" ".join(str(error).split()))
        some_ode = any(_is_ode(tree) for _, tree in trees)
        jobs = []
        for job, tree in trees:
            try:
                jobs.append(Job(job, *configure(tree, job, in_sweep=multirun and some_ode)))
            except UserError as error:
                problems += error.problems
        if problems:
            raise UserError(*dict.fromkeys(problems))
        folder = Path(cfg.hydra.sweep.dir if multirun else cfg.hydra.run.dir)
        return Command(jobs, folder, [_forced(override) for override in parsed])

    def typed(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Key and value of each override. Raises ``UserError`` where one is not of that form."""
        problems: list[str] = []
        parsed = self._parsed(overrides, multirun=False, problems=problems)
        if problems:
            raise UserError(*problems)
        return {o.key_or_group: o.value() for o in parsed}

    def _parsed(
        self, overrides: Sequence[str], multirun: bool, problems: list[str]
    ) -> list[Override]:
        parser = OverridesParser.create(config_loader=self.loader)
        parsed = []
        for text in overrides:
            try:
                (override,) = parser.parse_overrides([text])
            except HydraException:
                problems.append(f"{text}: not of the form key=value (quote special characters)")
                continue
            if override.is_sweep_override() and not multirun:
                problems.append(f"{text}: several values need -m (or brackets, for a list)")
                continue
            parsed.append(override)
        return parsed

    def _expanded(self, overrides: list[Override]) -> list[list[str]]:
        """The overrides of each job. Another sweeper than Hydra's own chooses its values as it
        goes: then only what it does not choose is checked here, and each job when it starts."""
        if any(o.key_or_group == "hydra/sweeper" for o in overrides):
            overrides = [o for o in overrides if not o.is_sweep_override()]
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
        return jobs

    def _sound(self, override: Override, multirun: bool, problems: list[str]) -> bool:
        """Whether Hydra may see this override; if not, a problem is added."""
        key = override.key_or_group
        value = override.value() if not override.is_delete() else None
        choices = self._choices(key)
        if key.split(".")[0].split("/")[0] == "hydra":
            dotted = key.replace("/", ".")
            if "_target_" in key or not dotted.startswith(HYDRA_KEYS):
                problems.append(choose("Hydra key", key, HYDRA_KEYS))
                return False
            if dotted.startswith("hydra.run." if multirun else "hydra.sweep."):
                problems.append(f"{key}: not used {'with' if multirun else 'without'} -m")
                return False
        elif override.is_delete():
            pass
        elif choices:
            if value not in choices:
                problems.append(choose(key, value, choices))
                return False
        elif key not in (*keys(), "resume") and (
            key not in Config.model_fields or section_type(key) is None
        ):
            problems.append(unknown_key(key, value))
            return False
        return True

    def _choices(self, group: str) -> list[str]:
        """The files of a group but for those that only others build on; empty for a plain key."""
        options = self.loader.get_group_options(
            group, ObjectType.CONFIG, self.config_name, self.search_path_overrides
        )
        return [option for option in options if not option.startswith("_")]


def _forced(override: Override) -> str:
    """``++`` in front of a key of the schema, since the chosen group file may not have it: to be
    refused with a better word than Hydra has, or read by a checkpoint's solver."""
    text = str(override.input_line)
    known = override.key_or_group in keys() and not override.is_delete()
    return f"++{text.lstrip('+')}" if known else text


def plain_tree(cfg: DictConfig) -> Tree:
    """The composed configuration without Hydra's part, interpolations resolved."""
    tree = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(tree, dict)
    tree.pop("hydra", None)
    resolved = OmegaConf.to_container(OmegaConf.create(tree), resolve=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def _named_code(cfg: DictConfig) -> list[str]:
    """Where Hydra's own part of the configuration names code other than Hydra's to run."""
    hydra = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(hydra, dict)
    named = [key for key, target in _targets(hydra, "hydra") if not target.startswith(PLUGINS)]
    named += ["hydra.callbacks"] if hydra["callbacks"] else []
    for name in ("job_logging", "hydra_logging"):
        extra = set(hydra[name]) - {"version", "root", "disable_existing_loggers"}
        named += [f"hydra.{name}.{key}" for key in sorted(extra)]
    return [f"{key}: a configuration may not name code to run" for key in named]


def _targets(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every ``_target_`` below a node: its key and what it names."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_":
                yield f"{path}.{key}", str(value)
            yield from _targets(value, f"{path}.{key}")
