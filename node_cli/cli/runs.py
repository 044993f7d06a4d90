"""Starting a run, and what it ended with."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from node_cli.cli.compose import Command
from node_cli.config.schema import Config, keys, section_type
from node_cli.display import Display
from node_cli.errors import UserError, check_all, complain, one_line
from node_cli.records.run_folder import RunFolder
from node_cli.report import comparison
from node_cli.report.run_plots import plot_run
from node_cli.tasks.run import execute
from node_cli.tasks.setup import preflight


def preflight_all(command: Command) -> None:
    """What can only be checked with torch, or against the records, for every job before the first
    one starts."""
    check_all(
        *(partial(preflight, job.config) for job in command.jobs),
        *(partial(_check_published, job.config) for job in command.jobs),
    )


def _check_published(config: Config) -> None:
    known = {*keys(), *(f"{name}.name" for name in Config.model_fields if section_type(name))}
    for i, table in enumerate(config.published or []):
        if wrong := table.setting.keys() - known:
            raise UserError(f"published.{i}.setting: {', '.join(sorted(wrong))}: no such key")
        if unknown := comparison.unknown_columns(table.columns):
            raise UserError(
                f"published.{i}.columns: {', '.join(unknown)}: not in the records of a run"
            )


def run(
    config: Config, folder: RunFolder, overrides: Sequence[str], notes: Sequence[str]
) -> float | None:
    """Run, records and plots included. Returns the score."""
    return execute(config, folder, overrides, notes, report=plot_run)


def show_published(path: Path, folders: Sequence[RunFolder]) -> None:
    """Print the published numbers that belong to runs beside theirs; write ``published.csv``."""
    try:
        if comparisons := comparison.compare(folders):
            comparison.write(path / "published.csv", comparisons)
    except (OSError, ValueError, LookupError) as error:  # a damaged run, a full disk
        complain(f"{path}: no comparison with published numbers ({one_line(error)})")
        return
    for found in comparisons:
        Display().line(f"\n{found.as_text()}".rstrip())


def exit_code(folder: RunFolder) -> int:
    """What the run of this process ended with in a folder; 1 where it could not say so."""
    status = folder.read_status()
    code = status.get("exit_code") if status.get("pid") == os.getpid() else None
    return code if isinstance(code, int) else 1


def short(path: Path) -> Path:
    """Relative to the working directory where the path lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
