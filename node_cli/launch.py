"""Starting the runs of a command, and saying how they ended."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from node_cli.compose import Command
from node_cli.config.messages import shell_override
from node_cli.config.schema import Config
from node_cli.errors import check_all, complain
from node_cli.report.plots import plot_run
from node_cli.report.summary import Row, as_text, summarise
from node_cli.run.display import Display
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


def announce(number: int, overrides: Sequence[str]) -> None:
    Display().line(f"\njob {number}: {' '.join(overrides)}\n")


def update_summary(sweep: Path) -> list[Row]:
    """``summarise``, where it can be written; else no rows."""
    try:
        return summarise(sweep)
    except OSError as error:
        complain(f"{sweep}: no summary ({error.strerror})")
        return []


def sweep_result(command: Command) -> int:
    """Print the table of a finished sweep; 1 where a job failed or is missing."""
    rows = update_summary(command.folder)
    Display().line(f"\n{as_text(rows)}\n{command.folder / 'summary.csv'}")
    return 0 if len(rows) >= len(command.jobs) and all(r["status"] == "done" for r in rows) else 1


def say_how_to_go_on(sweep: Path) -> None:
    complain(f"go on with the sweep: node-train {shell_override('resume', sweep)}")


def short(path: Path) -> Path:
    """Relative to the working directory where the path lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
