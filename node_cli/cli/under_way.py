"""A sweep while its jobs run: its lock, what a signal does, and what becomes of its jobs then.

A launcher plugin runs jobs in processes of their own, which joblib kills as soon as this process
stops.
"""

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from node_cli.errors import complain, one_line
from node_cli.records import sweep_folder
from node_cli.records.run_folder import RunFolder
from node_cli.report.over_seeds import Row
from node_cli.report.summary import summarise
from node_cli.stopping import exit_code, passing_on

DYING = 5.0
"""Seconds within which a process that was killed is gone."""


@contextmanager
def under_way(sweep: Path) -> Iterator[None]:
    """Lock a sweep while its jobs run. Where it is interrupted, its jobs end first, with their
    checkpoints; the status of one that could not say so is written; and the summary shows them.

    Raises ``UserError`` while another process has the sweep.
    """
    with RunFolder(sweep).locked(), passing_on(lambda number: _pass_on(sweep, number)):
        lost_before = [folder.path for folder in _jobs(sweep) if folder.standing() == "lost"]
        try:
            yield
        except KeyboardInterrupt as error:
            _tell_interrupted(sweep, lost_before, exit_code(error))
            update_summary(sweep)
            raise


def update_summary(sweep: Path) -> list[Row]:
    """Write the summary of a sweep; return its rows, none where it cannot be written."""
    try:
        return summarise(sweep)
    except Exception as error:  # damaged records lead to anything
        complain(f"{sweep}: no summary ({one_line(error)})")
        return []


def _jobs(sweep: Path) -> list[RunFolder]:
    return [RunFolder(sweep / name) for name in sweep_folder.jobs_in(sweep)]


def _pass_on(sweep: Path, number: int) -> None:
    """Send a signal to the processes that run jobs, and wait for the jobs to end."""
    waited_for = []
    for folder in _jobs(sweep):
        if (pid := _worker(folder)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            waited_for.append(folder)
    while any(_worker(folder) is not None for folder in waited_for):
        time.sleep(0.02)


def _worker(folder: RunFolder) -> int | None:
    """The process below this one that runs a job; None where there is no such process."""
    pid = folder.read_status().get("pid")
    children = [child.pid for child in multiprocessing.active_children()]
    return pid if pid in children and folder.standing() == "running" else None


def _tell_interrupted(sweep: Path, lost_before: list[Path], code: int) -> None:
    """Write the status of each job whose process was ended with this one's."""
    deadline = time.monotonic() + DYING
    for folder in _jobs(sweep):
        while folder.standing() == "running" and time.monotonic() < deadline:
            time.sleep(0.02)
        if folder.standing() == "lost" and folder.path not in lost_before:
            with suppress(OSError):
                folder.write_status(
                    "interrupted",
                    overrides=folder.read_overrides(),
                    reason="stopped at once, with its sweep",
                    exit_code=code,
                )
