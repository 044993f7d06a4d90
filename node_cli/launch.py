"""Starting a run, and what it ended with."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from node_cli.compose import Command
from node_cli.config.schema import Config
from node_cli.errors import check_all
from node_cli.report.plots import plot_run
from node_cli.run.records import RunFolder
from node_cli.run.session import execute
from node_cli.run.setup import preflight


def preflight_all(command: Command) -> None:
    """What can only be checked with torch, for every job before the first one starts."""
    check_all(*(partial(preflight, job.config) for job in command.jobs))


def run(
    config: Config, folder: RunFolder, overrides: Sequence[str], notes: Sequence[str]
) -> float | None:
    """Run, records and plots included. Returns the score."""
    return execute(config, folder, overrides, notes, report=plot_run)


def exit_code(folder: RunFolder) -> int:
    """What the run of this process ended with in a folder; 1 where it could not say so."""
    status = folder.read_status()
    code = status.get("exit_code") if status.get("pid") == os.getpid() else None
    return code if isinstance(code, int) else 1


def short(path: Path) -> Path:
    """Relative to the working directory where the path lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
