"""What is left of a run or of a sweep, as jobs to run."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from node_cli.cli.command import Command, Job
from node_cli.cli.compose import Composer
from node_cli.cli.overrides import CommandLine, key_of
from node_cli.config import data, regularize
from node_cli.config.check import checked
from node_cli.config.messages import plain
from node_cli.config.parts import PACKAGES
from node_cli.config.schema import Config
from node_cli.config.tasks import TASKS
from node_cli.config.tree import Tree, get, lay, put, show
from node_cli.errors import UserError
from node_cli.records import checkpoints, sweep_folder
from node_cli.records.early_stop import reason_to_stop
from node_cli.records.files import short
from node_cli.records.run_folder import RunFolder

# The keys that may change when a run goes on.
RESUME_KEYS = (
    *("epochs", "device", "threads", "data.root", "observers"),
    # What helps where a solve fails again and again.
    *(f"solver.{name}" for name in ("tol", "rtol", "atol", "max_nfe", "max_steps")),
    *("train.on_solver_failure", "train.max_skipped"),
    # They change when the run ends, and no number of it.
    *(f"train.{name}" for name in ("stop_early", "min_delta", "target", "max_seconds")),
)


def rest_of(folder: RunFolder, typed: Mapping[str, Any], begun: Job | None = None) -> Job | None:
    """Return what is left of the run in a folder as a job; None where it is finished.

    ``typed``: the overrides beside ``resume=``, key to value. ``begun``: the job of a sweep that it
    is the rest of, if known. Raises ``UserError`` where the run cannot go on.
    """
    found = resumed(folder, typed)
    if found is None:
        return None
    config, notes = found
    # Between the writes of config.yaml and status.json a process may have been killed: the former
    # then says how many epochs it was to be, the command of the sweep all else.
    overrides = [*(folder.read_overrides() or (begun.overrides if begun else ()))]
    in_config = folder.read_typed()
    if in_config is not None and _lasting(in_config) != _lasting(overrides):
        raise UserError(
            f"{folder.status}: says that {' '.join(_lasting(overrides))} was typed, and the first "
            f"line of {folder.config} {' '.join(_lasting(in_config))}; mend the one that is wrong"
        )
    current = {key: get(config.model_dump(), key) for key in RESUME_KEYS}
    changed = dict(typed)
    for key, value in current.items():
        recorded = [o for o in overrides if o.startswith(f"{key}=")]
        if (recorded and key == "epochs" and recorded != [f"{key}={value}"]) or (
            not recorded and begun and get(begun.config.model_dump(), key) != value
        ):
            changed.setdefault(key, value)
    overrides = [o for o in overrides if key_of(o) not in changed]
    overrides += [f"{key}={plain(value)}" for key, value in changed.items()]
    if folder.standing() == "lost":
        notes = [
            f"{folder.path}: its process has ended without a word (killed, or the machine was); "
            "going on from the last checkpoint",
            *notes,
        ]
    return Job(overrides, config, notes)


def _lasting(overrides: Iterable[str]) -> list[str]:
    """Those that a resume leaves as they are."""
    return [o for o in overrides if key_of(o) not in RESUME_KEYS]


def lift(reason: str) -> str:
    """How to train a run further that has stopped for a reason."""
    return f"to train it further, give another {reason.partition('=')[0]}, or null"


def job_in(sweep: Path, name: str) -> Job | None:
    """Return the job of a sweep whose folder has this name; None where that cannot be told."""
    try:
        return command_of(sweep).jobs[int(name)]
    except (UserError, ValueError, IndexError):
        return None


def chosen_job(command: Command, values: Mapping[str, Any]) -> Job:
    """Return the job of a search that has these values. Raises ``UserError``."""
    with _composing(command.folder) as (composer, typed):
        return composer.chosen(command, typed, values)


@contextlib.contextmanager
def _composing(folder: Path) -> Iterator[tuple[Composer, CommandLine]]:
    """What composes the sweep in a folder, and what was typed for it, in the folder where that
    was."""
    typed = sweep_folder.read(folder)
    # Paths that were typed start from where they were typed, unless this is another machine.
    directory = typed.working_directory if Path(typed.working_directory).is_dir() else "."
    with contextlib.chdir(directory), Composer(typed.config_name, typed.config_dir) as composer:
        yield composer, composer.parse(typed.overrides)


def command_of(folder: Path) -> Command:
    """Return the jobs of the sweep in a folder, composed again from what was typed for it.

    Of a table the file as it is now; of several tables the one that the folder is named after. Job
    N belongs into the folder N. Raises ``UserError`` where the configuration is no longer valid.
    """
    here = Path.cwd() / folder
    with _composing(folder) as (composer, command_line):
        if command_line.find("table"):
            named = {c.folder.name: c for c in composer.tables(command_line)}
            if here.name not in named:
                raise UserError(f"resume={folder}: must have the name of its table, {[*named]}")
            command = named[here.name]
        else:
            command = composer.command(command_line, multirun=True)
    return replace(command, folder=short(here))


def check_unchanged(command: Command) -> None:
    """Raise ``UserError`` where a table has changed since a job of it began."""
    if command.search:  # whose jobs are those of its study
        return
    for number, job in enumerate(command.jobs):
        begun = RunFolder(command.folder / str(number)).read_overrides()
        old, new = ({*_lasting(overrides)} for overrides in (begun, job.overrides))
        if begun and old != new:
            raise UserError(
                f"resume={command.folder}: job {number} began as {' '.join(begun)}, the table now "
                f"says {' '.join(job.overrides)}"
            )


def resumed(folder: RunFolder, typed: Mapping[str, Any]) -> tuple[Config, list[str]] | None:
    """Return the configuration and notes of the rest of a run; None where it is finished.

    ``typed``: the overrides beside ``resume=``, key to value. Raises ``UserError`` where one of
    them would make it another run, or where there is no training run in the folder.
    """
    tree = folder.read_config()
    problems = [
        f"{key}: not with resume=, which goes on as the run began; choose from "
        f"{', '.join(RESUME_KEYS)}"
        for key in typed
        if key not in RESUME_KEYS
    ]
    task = TASKS.get(str(tree.get("task")))
    if task is None or not task.trains:
        problems.append(f"resume={folder.path}: not a training run; start it again")
    try:
        checked({**tree, **{key: typed[key] for key in ("observers",) if key in typed}})
    except UserError as error:
        raise UserError(*(f"{folder.config}: {p}" for p in error.problems)) from error
    began, before = get(tree, "epochs"), deepcopy(tree)
    allowed = [key for key in typed if key in RESUME_KEYS]
    for key in allowed:
        lay(tree, key, typed[key])
    try:
        config, notes = checked(tree, allowed)
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(*problems)
    done = folder.completed_epochs()
    if config.epochs < done:
        raise UserError(f"epochs={config.epochs}: the run has already completed {done}")
    if folder.read_status().get("status") == "done":
        if config.epochs == done:
            return None
        if reason := reason_to_stop(config, folder, sys.maxsize):
            if typed:
                raise UserError(f"{folder.path}: this run has stopped ({reason}); {lift(reason)}")
            return None
    if config.epochs == done < began and config.eval.test == "end":
        raise UserError(
            f"epochs={done}: those are completed, without the evaluation of the test split that "
            "eval.test=end leaves to the last one; give more"
        )
    notes += _check_same_run(folder, config.model_dump(), typed)
    if typed.get("train.on_solver_failure") == "raise" and done:
        raise UserError(
            "train.on_solver_failure=raise: not with resume=, steps may have been skipped already"
        )
    notes += [
        f"{show(tree, key)}: from here on; the {done} epochs so far were made with "
        f"{show(before, key)}"
        for key in allowed
        if key.startswith("solver.") and get(before, key) != get(tree, key)
    ]
    if config.schedule.name == "cosine" and config.epochs != began:
        notes.append(
            f"schedule=cosine: the learning rates of the {done} epochs so far were those of "
            f"epochs={began}, from here on they are those of epochs={config.epochs}"
        )
    if config.epochs != began and (names := regularize.moving(config.regularize)):
        notes.append(
            f"regularize={plain(names)}: the weights of the {done} epochs so far were those of "
            f"epochs={began}, from here on they are those of epochs={config.epochs}"
        )
    began_with = checkpoints.load(folder.last).get("threads") if folder.last.exists() else None
    if config.threads not in ("auto", began_with) and began_with is not None:
        notes.append(
            f"threads={config.threads}: the run began with {began_with}; the last digits of what "
            "follows may be others"
        )
    return config, notes


def _check_same_run(folder: RunFolder, tree: Tree, typed: Mapping[str, Any]) -> list[str]:
    """Raise ``UserError`` where config.yaml is no longer that of the last checkpoint.

    Returns a note for each key that may change, has changed and was not ``typed`` now: by a resume
    that was killed before its first checkpoint, or in an editor.
    """
    if not folder.last.exists():
        return []
    began: Tree = checkpoints.load(folder.last)["config"]
    data.translate(began)
    notes = [
        f"{show(tree, key)}: from {folder.config}; the last checkpoint was made with "
        f"{show(began, key)}"
        for key in RESUME_KEYS
        if key not in typed and get(began, key) != get(tree, key)
    ]
    for key in RESUME_KEYS:
        put(began, key, get(tree, key))
    for key, value in began.items():
        if key == PACKAGES:  # of another version, which ``checked`` has told
            continue
        inner = [f"{key}.{name}" for name in value] if isinstance(value, dict) and value else [key]
        for dotted in inner:
            if get(tree, dotted) != get(began, dotted):
                raise UserError(
                    f"{folder.config}: {show(tree, dotted)}, but the checkpoint was made with "
                    f"{show(began, dotted)}"
                )
    return notes
