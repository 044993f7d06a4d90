"""Going on with a run, or a sweep, in its own folder."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from node_cli import launch
from node_cli.compose import Command, Composer
from node_cli.config.checks import checked
from node_cli.config.messages import plain
from node_cli.config.schema import Config, absolute
from node_cli.config.tree import Tree, get, put, show
from node_cli.errors import UserError, complain, print_problems
from node_cli.run import checkpoints
from node_cli.run.display import Display
from node_cli.run.records import RunFolder, write_text
from node_cli.run.setup import preflight

# A resumed run goes on as it began, but for these.
RESUME_KEYS = ("epochs", "device", "data.root")


@dataclass(frozen=True)
class _Sweep:
    """What was typed for a sweep, and where: the content of sweep.json."""

    overrides: list[str]
    config_name: str | None
    config_dir: str | None
    working_directory: str


def resume(location: str, typed: Mapping[str, Any]) -> int:
    """Go on with the run or sweep that a folder holds; returns the exit code.

    ``typed``: the other overrides, key to value. Raises ``UserError`` where it cannot go on; a
    run's folder is then left as it was.
    """
    try:
        path = launch.short(Path(absolute(location)))
    except ValueError as error:
        raise UserError(f"resume={location}: {error}") from error
    if is_sweep(path):
        if typed:
            raise UserError(f"{', '.join(typed)}: not with the resume= of a sweep")
        return _resume_sweep(path)
    folder = RunFolder(path)
    code = _go_on(folder, typed)
    if is_sweep(path.parent):
        launch.update_summary(path.parent)
    return code


def _go_on(folder: RunFolder, typed: Mapping[str, Any]) -> int:
    """The rest of one run; says so where there is none. Returns the exit code."""
    found = resumed(folder, typed)
    if found is None:
        text = f"{folder.path}: this run is finished; train it further with epochs=N"
        Display().line(text)
        return 0
    config, notes = found
    preflight(config)
    overrides = [o for o in folder.read_overrides() if o.partition("=")[0] not in typed]
    overrides += [f"{key}={plain(value)}" for key, value in typed.items()]
    launch.run(config, folder, overrides, notes)
    return launch.exit_code(folder)


def _resume_sweep(path: Path) -> int:
    """The rest of every job that has started, and every job that has not."""
    command = resumed_sweep(path)
    launch.preflight_all(command)
    refused = 0
    try:
        with RunFolder(path).locked():
            for number, job in enumerate(command.jobs):
                folder = RunFolder(path / str(number))
                launch.announce(number, job.overrides)
                try:
                    if folder.config.exists() and job.config.task == "train":
                        _go_on(folder, {})
                    elif folder.read_status().get("status") != "done":
                        folder.path.mkdir(exist_ok=True)
                        launch.run(job.config, folder, job.overrides, job.notes)
                except UserError as error:  # costs this job alone
                    print_problems(error)
                    refused = 1
                except OSError as error:
                    complain(f"{folder.path}: {error.strerror}")
                    refused = 1
                finally:
                    launch.update_summary(path)
    except KeyboardInterrupt:
        launch.say_how_to_go_on(path)
        raise
    return max(launch.sweep_result(command), refused)


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
        problems.append(f"resume={folder.path}: not a training run; run the evaluation again")
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
    _check_same_run(folder, config.model_dump())
    if config.schedule.name == "cosine" and config.epochs != began:
        notes.append(
            f"schedule=cosine: the learning rates of the {done} epochs so far were those of "
            f"epochs={began}, from here on they are those of epochs={config.epochs}"
        )
    return config, notes


def _check_same_run(folder: RunFolder, tree: Tree) -> None:
    """Raise ``UserError`` where config.yaml is no longer that of the last checkpoint."""
    if not folder.last.exists():
        return
    began: Tree = checkpoints.load(folder.last)["config"]
    try:
        checked(began)
    except UserError as error:
        raise UserError(
            f"checkpoint={folder.last}: its configuration is not valid ({error.problems[0]})"
        ) from error
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


def is_sweep(folder: Path) -> bool:
    return _sweep_file(folder).is_file()


def record_sweep(
    folder: Path, overrides: list[str], config_name: str | None, config_dir: str | None
) -> None:
    """Write down what ``resumed_sweep`` needs."""
    sweep = _Sweep(overrides, config_name, config_dir, str(Path.cwd()))
    write_text(_sweep_file(folder), json.dumps(asdict(sweep), indent=2) + "\n")


def resumed_sweep(folder: Path) -> Command:
    """The jobs of the sweep that began in ``folder``, composed again from what was typed for it.

    Job N lies in, or goes to, the folder N. Raises ``UserError`` where the configuration has become
    wrong since.
    """
    try:
        text = _sweep_file(folder).read_text(encoding="utf-8")
        sweep = TypeAdapter(_Sweep).validate_json(text, strict=True)
    except ValueError as error:
        raise UserError(f"{_sweep_file(folder)}: damaged") from error
    if any(o.lstrip("+").startswith("hydra/sweeper=") for o in sweep.overrides):
        raise UserError(f"resume={folder}: a sweeper chose its values; resume its runs one by one")
    here = Path.cwd() / folder
    # What was typed is relative to where it was typed, unless this is another machine.
    directory = sweep.working_directory if Path(sweep.working_directory).is_dir() else "."
    with contextlib.chdir(directory), Composer(sweep.config_name, sweep.config_dir) as composer:
        command = composer.command(sweep.overrides, multirun=True)
    return replace(command, folder=launch.short(here))


def _sweep_file(folder: Path) -> Path:
    return folder / "sweep.json"
