"""Going on with a run, or a sweep, in its own folder."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from node_cli import launch
from node_cli.compose import Command, Composer
from node_cli.config.checks import checked
from node_cli.config.schema import Config, absolute
from node_cli.config.tree import Tree, get, put, show
from node_cli.errors import UserError, print_problems
from node_cli.report.summary import summarise
from node_cli.run import checkpoints
from node_cli.run.records import RunFolder, read_csv, write_text
from node_cli.run.setup import preflight

# A resumed run goes on as it began, but for these.
RESUME_KEYS = ("epochs", "device", "data.root")


def resume(location: str, typed: Mapping[str, Any]) -> int:
    """Go on with the run or sweep that a folder holds; returns the exit code.

    ``typed``: the other overrides, key to value. Raises ``UserError`` where it cannot go on; a
    run's folder is then left as it was.
    """
    path = launch.short(Path(absolute(location)))
    if is_sweep(path):
        if typed:
            raise UserError(f"{', '.join(typed)}: not with the resume= of a sweep")
        return _resume_sweep(path)
    folder = RunFolder(path)
    _go_on(folder, typed)
    if is_sweep(path.parent):
        summarise(path.parent)
    return launch.exit_code(folder)


def _go_on(folder: RunFolder, typed: Mapping[str, Any]) -> None:
    """The rest of one run; says so where there is none."""
    found = resumed(folder, typed)
    if found is None:
        print(f"{folder.path}: this run is finished; train it further with epochs=N")
        return
    config, notes = found
    preflight(config)
    launch.run(config, folder, folder.read_status().get("overrides", []), notes)


def _resume_sweep(path: Path) -> int:
    """The rest of every job that has started, and every job that has not."""
    command = resumed_sweep(path)
    launch.preflight_all(command)
    try:
        for number, job in enumerate(command.jobs):
            folder = RunFolder(path / str(number))
            print(f"\njob {number}: {' '.join(job.overrides)}\n")
            try:
                if folder.config.exists() and job.config.task == "train":
                    _go_on(folder, {})
                elif folder.read_status().get("status") != "done":
                    folder.path.mkdir(exist_ok=True)
                    launch.run(job.config, folder, job.overrides, job.notes)
            except UserError as error:  # costs this job alone
                print_problems(error)
            finally:
                summarise(path)
    except KeyboardInterrupt:
        launch.print_how_to_go_on(path)
        raise
    return launch.sweep_result(command)


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
    allowed = [key for key in typed if key in RESUME_KEYS]
    for key in allowed:
        put(tree, key, typed[key])
    try:
        config, notes = checked(tree, allowed)
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(*problems)
    rows = read_csv(folder.epochs)
    done = int(rows[-1]["epoch"]) if rows else 0
    if config.epochs < done:
        raise UserError(f"epochs={config.epochs}: the run has already completed {done}")
    if folder.read_status().get("status") == "done" and config.epochs == done:
        return None
    _check_same_run(folder, config.model_dump())
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


def is_sweep(folder: Path) -> bool:
    return _sweep_file(folder).exists()


def record_sweep(
    folder: Path, overrides: list[str], config_name: str | None, config_dir: str | None
) -> None:
    """Write down what ``resumed_sweep`` needs."""
    command = {
        "overrides": overrides,
        "config_name": config_name,
        "config_dir": config_dir,
        "working_directory": str(Path.cwd()),
    }
    write_text(_sweep_file(folder), json.dumps(command, indent=2) + "\n")


def resumed_sweep(folder: Path) -> Command:
    """The jobs of the sweep that began in ``folder``, composed again from what was typed for it.

    Job N lies in, or goes to, the folder N. Raises ``UserError`` where the configuration has become
    wrong since.
    """
    try:
        typed = json.loads(_sweep_file(folder).read_text(encoding="utf-8"))
        overrides, directory = typed["overrides"], typed["working_directory"]
        config_name, config_dir = typed["config_name"], typed["config_dir"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{_sweep_file(folder)}: damaged") from error
    here = Path.cwd() / folder
    if not Path(directory).is_dir():  # another machine; else what was typed is relative to it
        directory = "."
    with contextlib.chdir(directory), Composer(config_name, config_dir) as composer:
        command = composer.command(overrides, multirun=True)
    return replace(command, folder=launch.short(here))


def _sweep_file(folder: Path) -> Path:
    return folder / "sweep.json"
