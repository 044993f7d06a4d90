"""From what the user typed to checked configurations, every mistake found before anything runs.

Hydra stops at the first mistake, accepts ``+epocs=3``, and meets some errors with a traceback. Here
each override is looked at first, and Hydra composes those that are sound.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from node_cli.cli import tables
from node_cli.cli.command import Command, Job
from node_cli.cli.hydra_files import HydraFiles
from node_cli.cli.hydra_keys import LAUNCHERS, PLUGIN_GROUPS, SWEEPERS, problem_with_key, refused
from node_cli.cli.over_checkpoint import configure, plain_tree
from node_cli.cli.overrides import CommandLine, Override, Parser
from node_cli.cli.search import TARGET, search_of
from node_cli.config.check import unknown_key, used_keys
from node_cli.config.files import CONF, default_choices
from node_cli.config.messages import not_among, plain
from node_cli.config.parts import is_option
from node_cli.config.schema import keys, sections
from node_cli.config.tree import Tree
from node_cli.errors import UserError, one_line


class Composed(NamedTuple):
    """What Hydra has made of one job.

    ``typed``: the keys that were. ``written``: its overrides as they were typed. ``overrides``:
    those to be told of it and to be typed for it again. ``own``: those for Hydra to compose it
    again, without Hydra's own. ``tree``: the configuration.
    """

    typed: set[str]
    written: list[str]
    overrides: list[str]
    own: list[str]
    tree: Tree


class Composer:
    """Hydra over our configuration; ``config_dir``: a folder with further files of the user's."""

    def __init__(self, config_name: str | None = None, config_dir: str | None = None) -> None:
        self.config_name = config_name or "config"
        self.config_dir = config_dir
        self.files = HydraFiles(self.config_name, config_dir)

    def __enter__(self) -> "Composer":
        self.files.open()
        self.parser = Parser(self.files.loader)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.files.close()

    def parse(self, overrides: Sequence[str]) -> CommandLine:
        """What was typed, to be composed by ``command`` or ``tables``."""
        return self.parser.command_line(overrides)

    def command(self, typed: CommandLine, *, multirun: bool) -> Command:
        """Every job of a command line, checked. Raises ``UserError`` with every problem found."""
        problems = [*typed.problems]
        jobs = typed.jobs(self.parser, multirun=multirun, problems=problems)
        command = self._command(jobs, multirun, problems, typed.overrides)
        return replace(command, overrides=[_forced(override) for override in typed.lasting])

    def chosen(self, command: Command, typed: CommandLine, values: Mapping[str, Any]) -> Job:
        """The job of a search with these values. Raises ``UserError``."""
        fixed = [o for o in typed.lasting if o.key not in values]
        job = [*fixed, *self.parse([f"{key}={value}" for key, value in values.items()]).overrides]
        return self._command([job], True, [], typed.overrides, command.used).jobs[0]

    def tables(self, typed: CommandLine) -> list[Command]:
        """One sweep for each table that ``table=`` names, in a folder of its name. What else is
        typed holds for every row, in the place of what the row says itself.

        Raises ``UserError`` with every problem found.
        """
        problems = [*typed.problems]
        for_all = {o.key: o for o in typed.lasting}
        problems += [
            f"{key}: not used with table=, whose rows are its jobs"
            for key in for_all
            if key.replace("/", ".").startswith("hydra.sweeper")
        ]
        if problems:
            raise UserError(*problems)
        chosen = for_all.pop("table")
        names = chosen.value if chosen.several else [chosen.value]
        folders = [Path(self.config_dir), CONF] if self.config_dir else [CONF]
        commands = []
        for name, table in tables.find(folders, [str(name) for name in names]).items():
            jobs = []
            for texts in table.overrides():
                row = self.parse(texts)
                problems += row.problems
                own = [o for o in row.overrides if o.key not in for_all]
                row = replace(row, overrides=[*own, *for_all.values()])
                jobs += row.jobs(self.parser, multirun=True, problems=problems)
            same = {frozenset(override.text for override in job) for job in jobs}
            if len(same) < len(jobs):
                problems.append(f"table={name}: {len(jobs)} jobs, but {len(same)} different ones")
            command = self._command(jobs, True, problems)
            hydras = [o.text for o in for_all.values() if o.key.startswith("hydra")]
            commands.append(replace(command, folder=command.folder / name, overrides=hydras))
        return commands

    def _command(
        self,
        expanded: list[list[Override]],
        multirun: bool,
        problems: list[str],
        typed: Sequence[Override] = (),
        elsewhere: Collection[str] = (),
    ) -> Command:
        """The command of the jobs ``expanded``; raises what is wrong with them and ``problems``.
        ``typed``: all that was. ``elsewhere``: keys that are of use to other jobs."""
        composed: list[Composed] = []
        is_launched = False
        sweeper: Any = {"_target_": SWEEPERS[0]}
        for job in expanded:
            sound = self._sound(job, multirun, problems)
            try:
                cfg = self.files.compose([_forced(override) for override in sound])
                folder = Path(cfg.hydra.sweep.dir if multirun else cfg.hydra.run.dir).expanduser()
                composed.append(_composed(cfg, sound, multirun))
                problems += refused(cfg)
                sweeper = OmegaConf.to_container(cfg.hydra.sweeper)
                is_launched = is_launched or cfg.hydra.launcher["_target_"] != LAUNCHERS[0]
            except Exception as error:  # whatever a file leads Hydra to
                problems.append(f"the configuration cannot be composed: {one_line(error)}")
        used = set(elsewhere)
        if multirun:
            used |= {key for one in composed for key in used_keys(one.tree, one.typed)}
        jobs = []
        for one in composed:
            try:
                config, notes = configure(one.tree, one.typed, elsewhere=used)
                jobs.append(Job(one.overrides, config, notes, one.own))
            except UserError as error:
                problems += _as_typed(error.problems, one.written)
        search = None
        if sweeper["_target_"] == TARGET:
            try:
                search = search_of(sweeper, typed, [job.config for job in jobs])
            except UserError as error:
                problems += error.problems
        if problems:
            raise UserError(*dict.fromkeys(problems))
        return Command(jobs, folder, is_launched=is_launched, search=search, used=used)

    def _sound(self, job: list[Override], multirun: bool, problems: list[str]) -> list[Override]:
        """The overrides that Hydra may see; a problem is added for each of the others."""
        folders = [o.text for o in job if o.key == "hydra.searchpath" and isinstance(o.value, list)]
        sound = []
        for override in job:
            if problem := self._problem(override, multirun, folders):
                problems.append(problem)
            else:
                sound.append(override)
        return sound

    def _problem(self, override: Override, multirun: bool, folders: list[str]) -> str | None:
        """What is wrong with a key, or a choice. ``folders``: overrides of where files lie."""
        key, value = override.key, override.value
        if key.split(".")[0].split("/")[0] == "hydra":
            return problem_with_key(key, value, multirun) or self._problem_with_plugin(key, value)
        if choices := self.files.choices(key, folders):
            if override.text.startswith("+"):
                return f"{override.text}: leave out the +"
            takes_several = isinstance(default_choices().get(key), list)
            several = value if takes_several and isinstance(value, list) else [value]
            if all(choice in choices for choice in several) or (
                key == "experiment" and value is None
            ):
                return None
            value = next(choice for choice in several if choice not in choices)
            inner, _, name = str(value).rpartition("/")
            if inner and name in self.files.choices(f"{key}/{inner}", folders):
                return None
            if self.config_dir and Path(self.config_dir, key, f"{value}.yml").is_file():
                return f"{key}={plain(value)}: {value}.yml must be named {value}.yaml"
            return not_among(key, value, choices)
        if key.startswith("sweep.") and not multirun:
            return f"{key}={plain(value)}: not used without -m or table="
        if key in (*keys(), *sections(), "resume") or is_option(key):
            return None
        return unknown_key(key, value)

    def _problem_with_plugin(self, key: str, value: Any) -> str | None:
        """What is wrong with the choice of a launcher or a sweeper."""
        group = key.replace(".", "/", 1)
        if group not in PLUGIN_GROUPS or value in (choices := self.files.choices(group, [])):
            return None
        extra = "; more come with pip install 'node-train[launchers]'"
        return not_among(key, value, choices) + extra * (group == PLUGIN_GROUPS[0])


def _composed(cfg: DictConfig, sound: Sequence[Override], multirun: bool) -> Composed:
    """The job of the overrides that Hydra has seen, and of the configuration that it has made."""
    written = [str(override.parsed.input_line).lstrip("+") for override in sound]
    overrides = [str(override).lstrip("+") for override in cfg.hydra.overrides.task]
    if not multirun:  # Hydra runs it with what was typed, not with what it has read
        overrides = [text for text in written if not text.startswith("hydra")]
    own = [text for text in map(_forced, sound) if not text.startswith("hydra")]
    return Composed({o.key for o in sound}, written, overrides, own, plain_tree(cfg))


def _as_typed(problems: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Lines in which numbers are written as they were typed: 1e-3, where Python says 0.001."""
    lines = []
    for line in problems:
        start, colon, rest = line.partition(": ")
        key = start.partition("=")[0]
        typed = [text for text in texts if text.partition("=")[0] == key]
        is_number = bool(typed) and _same_number(typed[-1], start)
        lines.append(f"{typed[-1]}{colon}{rest}" if is_number else line)
    return lines


def _same_number(*overrides: str) -> bool:
    try:
        return len({float(text.partition("=")[2]) for text in overrides}) == 1
    except ValueError:
        return False


def _forced(override: Override) -> str:
    """``++`` in front of a key of the schema or an option of a part, since the chosen group file
    may not have it: to be refused with a better word than Hydra has, or read by a checkpoint's
    solver."""
    is_ours = override.key in keys() or is_option(override.key)
    return f"++{override.text.lstrip('+')}" if is_ours else override.text
