"""Going on with a run, or a sweep, in its own folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from node_cli.cli import runs, sweep
from node_cli.cli.compose import Command
from node_cli.config.check import checked
from node_cli.config.messages import plain
from node_cli.config.schema import Config, absolute
from node_cli.config.tree import Tree, get, put, show
from node_cli.errors import UserError, one_line, print_problems
from node_cli.records import checkpoints
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.progress_display import Display
from node_cli.tasks.setup import preflight

# A resumed run goes on as it began, but for these.
RESUME_KEYS = ("epochs", "device", "threads", "data.root")


def resume(location: str, typed: Mapping[str, Any]) -> int:
    """Go on with the run or sweep that a folder holds; returns the exit code.

    ``typed``: the other overrides, key to value. Raises ``UserError`` where it cannot go on; a
    run's folder is then left as it was.
    """
    try:
        path = runs.short(Path(absolute(location)))
    except ValueError as error:
        raise UserError(f"resume={location}: {error}") from error
    if sweeps := sweep.inside(path):
        if typed:
            raise UserError(f"{', '.join(typed)}: not with the resume= of a sweep")
        commands = [sweep.recorded(one) for one in sweeps]
        for command in commands:
            _check_unchanged(command)
            runs.preflight_all(command)
        return run_sweeps(path, commands)
    folder = RunFolder(path)
    code = _go_on(folder, typed)
    runs.show_published(path, [folder])
    if sweep.is_sweep(path.parent):
        sweep.update_summary(path.parent)
    return code


def _go_on(folder: RunFolder, typed: Mapping[str, Any]) -> int:
    """The rest of one run; says so where there is none. Returns the exit code."""
    found = resumed(folder, typed)
    if found is None:
        Display().line(f"{folder.path}: this run is finished; train it further with epochs=N")
        return 0
    config, notes = found
    preflight(config)
    overrides = [o for o in folder.read_overrides() if o.partition("=")[0] not in typed]
    overrides += [f"{key}={plain(value)}" for key, value in typed.items()]
    runs.run(config, folder, overrides, notes)
    return runs.exit_code(folder)


def _check_unchanged(command: Command) -> None:
    """Raise ``UserError`` where a table has changed since a job of it began."""
    for number, job in enumerate(command.jobs):
        begun = RunFolder(command.folder / str(number)).read_overrides()
        old, new = (
            {o for o in overrides if o.partition("=")[0] not in RESUME_KEYS}
            for overrides in (begun, job.overrides)
        )
        if begun and old != new:
            raise UserError(
                f"resume={command.folder}: job {number} began as {' '.join(begun)}, the table now "
                f"says {' '.join(job.overrides)}"
            )


def run_sweeps(path: Path, commands: Sequence[Command]) -> int:
    """Of each sweep in turn the rest of every job that has started, and every job that has not.

    ``path``: the folder of the only sweep, or of all of them. Returns the largest exit code.
    """
    with sweep.resumable(path):
        return max(_run_sweep(command) for command in commands)


def _run_sweep(command: Command) -> int:
    refused = 0
    path = command.folder
    with RunFolder(path).locked():
        for number, job in enumerate(command.jobs):
            folder = RunFolder(path / str(number))
            sweep.announce(number, job.overrides)
            try:
                if folder.config.exists() and job.config.task == "train":
                    _go_on(folder, {})
                elif folder.read_status().get("status") != "done":
                    folder.path.mkdir(exist_ok=True)
                    runs.run(job.config, folder, job.overrides, job.notes)
            except (UserError, OSError) as error:  # costs this job alone
                print_problems(
                    error if isinstance(error, UserError) else UserError(one_line(error))
                )
                refused = 1
            finally:
                sweep.update_summary(path)
    return max(sweep.result(command), refused)


def resumed(folder: RunFolder, typed: Mapping[str, Any]) -> tuple[Config, list[str]] | None:
    """The configuration and notes to go on with; None where the run is finished.

    Raises ``UserError`` where one of ``typed`` would change what the run is, or where there is no
    training run in the folder.
    """
    tree = folder.read_config()
    problems = [
        f"{key}: not with resume=, which goes on as the run began; choose from "
        f"{', '.join(RESUME_KEYS)}"
        for key in typed
        if key not in RESUME_KEYS
    ]
    if tree.get("task") != "train":
        problems.append(f"resume={folder.path}: not a training run; start it again")
    try:
        checked(tree)
    except UserError as error:
        raise UserError(*(f"{folder.config}: {p}" for p in error.problems)) from error
    began = get(tree, "epochs")
    allowed = [key for key in typed if key in RESUME_KEYS]
    for key in allowed:
        put(tree, key, typed[key])
    try:
        config, notes = checked(tree, allowed)
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(*problems)
    done = folder.completed_epochs()
    if config.epochs < done:
        raise UserError(f"epochs={config.epochs}: the run has already completed {done}")
    if folder.read_status().get("status") == "done" and config.epochs == done:
        return None
    if config.epochs == done and config.eval.test == "end":
        raise UserError(
            f"epochs={done}: those are completed, without the evaluation of the test split that "
            "eval.test=end leaves to the last one; give more"
        )
    _check_same_run(folder, config.model_dump())
    if config.schedule.name == "cosine" and config.epochs != began:
        notes.append(
            f"schedule=cosine: the learning rates of the {done} epochs so far were those of "
            f"epochs={began}, from here on they are those of epochs={config.epochs}"
        )
    began_with = checkpoints.load(folder.last).get("threads") if folder.last.exists() else None
    if config.threads not in ("auto", began_with) and began_with is not None:
        notes.append(
            f"threads={config.threads}: the run began with {began_with}; the last digits of what "
            "follows may be others"
        )
    return config, notes


def _check_same_run(folder: RunFolder, tree: Tree) -> None:
    """Raise ``UserError`` where config.yaml is no longer that of the last checkpoint."""
    if not folder.last.exists():
        return
    began: Tree = checkpoints.load(folder.last)["config"]
    for key in RESUME_KEYS:
        put(began, key, get(tree, key))
    for key, value in began.items():
        inner = [f"{key}.{name}" for name in value] if isinstance(value, dict) else [key]
        for dotted in inner:
            if get(tree, dotted) != get(began, dotted):
                raise UserError(
                    f"{folder.config}: {show(tree, dotted)}, but the checkpoint was made with "
                    f"{show(began, dotted)}"
                )
