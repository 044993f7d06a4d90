"""From what the user typed to checked configurations, every mistake found before anything runs.

Hydra stops at the first mistake, accepts ``+epocs=3``, and meets some errors with a traceback. Here
each override is looked at first, and Hydra composes those that are sound.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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

from node_cli.cli import tables
from node_cli.cli.hydra_keys import PLUGIN_KEYS, problem_with_key, refused
from node_cli.cli.over_checkpoint import configure, plain_tree
from node_cli.config.messages import not_among, unknown_key
from node_cli.config.schema import Config, keys, section_type
from node_cli.errors import UserError, one_line

# In a wheel the configuration lies inside the package, in a checkout beside it.
CONF = next(
    folder
    for folder in (Path(__file__).parents[1] / "conf", Path(__file__).parents[2] / "conf")
    if folder.is_dir()
)


@dataclass(frozen=True)
class Job:
    """One run to be: what was typed for it, its configuration, and notes for the user."""

    overrides: Sequence[str]
    config: Config
    notes: Sequence[str]


@dataclass(frozen=True)
class Command:
    """The jobs of one command line, the folder for it, and the overrides for Hydra to compose,
    none where it has no part in running them."""

    jobs: Sequence[Job]
    folder: Path
    overrides: Sequence[str] = ()


class Composer:
    """Hydra over our configuration; ``config_dir``: a folder with further files of the user's."""

    def __init__(self, config_name: str | None = None, config_dir: str | None = None) -> None:
        self.config_name = config_name or "config"
        self.config_dir = config_dir
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
        parsed = self._parsed(overrides, multirun, problems)
        jobs = self._expanded(parsed, problems)
        command = self._command(jobs, multirun, problems)
        return replace(command, overrides=[_forced(override) for override in parsed])

    def tables(self, overrides: Sequence[str]) -> list[Command]:
        """One sweep for each table that ``table=`` names, in a folder of its name. What else is
        typed holds for every row, in the place of what the row says itself.

        Raises ``UserError`` with every problem found.
        """
        problems: list[str] = []
        typed = {o.key_or_group: o for o in self._parsed(overrides, True, problems)}
        problems += [
            f"{key}: not used with table=, whose jobs run one after the other"
            for key in typed
            if key.replace("/", ".").startswith(PLUGIN_KEYS)
        ]
        if problems:
            raise UserError(*problems)
        chosen = typed.pop("table")
        names = chosen.sweep_string_iterator() if chosen.is_sweep_override() else [chosen.value()]
        folders = [Path(self.config_dir), CONF] if self.config_dir else [CONF]
        commands = []
        for name, table in tables.find(folders, [str(name) for name in names]).items():
            jobs = []
            for row in table.overrides():
                own = [o for o in self._parsed(row, True, problems) if o.key_or_group not in typed]
                jobs += self._expanded([*own, *typed.values()], problems)
            same = {frozenset(job) for job in jobs}
            if len(same) < len(jobs):
                problems.append(f"table={name}: {len(jobs)} jobs, but {len(same)} different ones")
            command = self._command(jobs, True, problems)
            commands.append(replace(command, folder=command.folder / name))
        return commands

    def _command(self, expanded: list[list[str]], multirun: bool, problems: list[str]) -> Command:
        composed = []
        for job in expanded:
            sound = [
                _forced(override)
                for override in self._parsed(job, multirun, problems)
                if self._sound(override, multirun, problems)
            ]
            try:
                cfg = self.hydra.compose_config(self.config_name, sound, RunMode.RUN)
                folder = Path(cfg.hydra.sweep.dir if multirun else cfg.hydra.run.dir)
                own = [str(override).lstrip("+") for override in cfg.hydra.overrides.task]
                composed.append((own, plain_tree(cfg)))
                problems += refused(cfg)
            except Exception as error:  # whatever a file leads Hydra to
                problems.append(f"the configuration cannot be composed: {one_line(error)}")
        some_ode = any(_is_ode(tree) for _, tree in composed)
        jobs = []
        for job, tree in composed:
            try:
                config, notes = configure(tree, job, in_sweep=multirun and some_ode)
                jobs.append(Job(job, config, notes))
            except UserError as error:
                problems += error.problems
        if problems:
            raise UserError(*dict.fromkeys(problems))
        return Command(jobs, folder)

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
        self.search_path_overrides = [o for o in overrides if o.startswith("hydra.searchpath=")]
        parser = OverridesParser.create(config_loader=self.loader)
        parsed = []
        for text in overrides:
            try:
                (override,) = parser.parse_overrides([text])
            except (HydraException, ValueError):
                problems.append(f"{text}: not of the form key=value (quote special characters)")
                continue
            if override.is_delete():
                problems.append(f"{text}: nothing can be left out; an optional key takes null")
            elif override.is_sweep_override() and not multirun:
                problems.append(f"{text}: several values need -m (or brackets, for a list)")
            elif override.is_sweep_override() and override.key_or_group.startswith("hydra"):
                problems.append(f"{text}: takes one value (quote special characters)")
            else:
                parsed.append(override)
        return parsed

    def _expanded(self, overrides: list[Override], problems: list[str]) -> list[list[str]]:
        """The overrides of each job. Another sweeper than Hydra's own chooses its values as it
        goes: then only what it does not choose is checked here, and each job when it starts."""
        if any(o.key_or_group == "hydra/sweeper" for o in overrides):
            overrides = [o for o in overrides if not o.is_sweep_override()]
        swept = " ".join(str(o.input_line) for o in overrides if o.is_sweep_override())
        jobs: list[list[str]] = []
        try:
            (jobs,) = BasicSweeper.split_arguments(overrides, None)
        except HydraException as error:
            problems.append(f"{swept}: {one_line(error)}")
        else:
            if not jobs:
                problems.append(f"{swept}: no values to run with")
        return jobs

    def _sound(self, override: Override, multirun: bool, problems: list[str]) -> bool:
        """Whether Hydra may see this override; if not, a problem is added."""
        key, value = override.key_or_group, override.value()
        problem = None
        if key.split(".")[0].split("/")[0] == "hydra":
            problem = problem_with_key(key, value, multirun)
        elif choices := self._choices(key):
            if value not in choices and not (key == "experiment" and value is None):
                problem = not_among(key, value, choices)
        elif key not in (*keys(), "resume") and (
            key not in Config.model_fields or section_type(key) is None
        ):
            problem = unknown_key(key, value)
        problems += [problem] if problem else []
        return problem is None

    def _choices(self, group: str) -> list[str]:
        """The files of a group but for those that only others build on; empty for a plain key."""
        options = self.loader.get_group_options(
            group, ObjectType.CONFIG, self.config_name, self.search_path_overrides
        )
        return [option for option in options if not option.startswith("_")]


def is_table(overrides: Sequence[str]) -> bool:
    """Whether a command line names tables of jobs."""
    return any(o.lstrip("+").startswith("table=") for o in overrides)


def _forced(override: Override) -> str:
    """``++`` in front of a key of the schema, since the chosen group file may not have it: to be
    refused with a better word than Hydra has, or read by a checkpoint's solver."""
    text = str(override.input_line)
    return f"++{text.lstrip('+')}" if override.key_or_group in keys() else text


def _is_ode(tree: dict[str, Any]) -> bool:
    model = tree.get("model")
    return isinstance(model, dict) and model.get("core") == "ode"
