"""Starting the runs of a command, and saying how they ended."""

import sys
from collections.abc import Sequence
from pathlib import Path

from node_cli.compose import Command
from node_cli.config.messages import typed
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.report.plots import plot_run
from node_cli.report.summary import as_text, summarise
from node_cli.run.records import RunFolder
from node_cli.run.session import execute
from node_cli.run.setup import preflight


def preflight_all(command: Command) -> None:
    """What can only be checked with torch, for every job before the first one starts."""
    problems: list[str] = []
    for job in command.jobs:
        try:
            preflight(job.config)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*dict.fromkeys(problems))


def run(
    config: Config, folder: RunFolder, overrides: Sequence[str], notes: Sequence[str]
) -> float | None:
    """Run, records and plots included. Returns the score."""
    return execute(config, folder, overrides, notes, report=plot_run)


def exit_code(folder: RunFolder) -> int:
    """What the run in a folder ended with; 1 where it did not come to an end."""
    code = folder.read_status().get("exit_code")
    return code if isinstance(code, int) else 1


def sweep_result(command: Command) -> int:
    """Print the table of a finished sweep; 1 where a job failed or is missing."""
    rows = summarise(command.folder)
    print(f"\n{as_text(rows)}\n{command.folder / 'summary.csv'}")
    return 0 if len(rows) >= len(command.jobs) and all(r["status"] == "done" for r in rows) else 1


def print_how_to_go_on(sweep: Path) -> None:
    print(f"go on with the sweep: node-train {typed('resume', sweep)}", file=sys.stderr)


def short(path: Path) -> Path:
    """Relative to the working directory where the path lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
