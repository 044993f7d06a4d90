"""Running one job, new or begun before: the only place where a job is run.

A single run and the jobs of a launcher are started by Hydra, all others by ``runs``.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node_cli.cli.command import Job
from node_cli.cli.fail_fast import failed_job, note_failure
from node_cli.cli.resume import rest_of
from node_cli.config.tasks import TASKS
from node_cli.display import Display, tell
from node_cli.errors import UserError, complain, one_line, print_problems
from node_cli.machine.garbage import collection
from node_cli.records.run_folder import RunFolder
from node_cli.report.run_plots import plot_run
from node_cli.report.summary import add_row
from node_cli.tasks.run import execute
from node_cli.tasks.setup import preflight


@dataclass(frozen=True)
class JobEnd:
    """How a job ended. ``refused``: it was not run at all."""

    score: float | None = None
    refused: bool = False


@collection(on=False)  # but while its task runs
def run_job(
    folder: RunFolder,
    prepare: Callable[[], Job | None],
    *,
    announce: str = "",
    sweep: Path | None = None,
    fail_fast: bool = False,
    display: Display | None = None,
) -> JobEnd:
    """Run a job in its folder, with its plots; what goes wrong is printed and costs this job alone.

    ``prepare``: makes its configuration, None where there is nothing left to do; may raise
    ``UserError``. ``announce``: a line to print first. ``sweep``: the folder of its sweep, whose
    summary.csv gets its row. ``fail_fast``: not run where an earlier job of the sweep has failed.
    ``display``: that of the sweep. Raises KeyboardInterrupt.
    """
    if sweep is not None and fail_fast and (failed := failed_job(sweep)) is not None:
        Display().line(f"\njob {folder.path.name}: not started, job {failed} has failed")
        tell("end", folder=str(folder.path), status="not started")
        return JobEnd(refused=True)
    if announce:
        Display().line(f"\n{announce}\n")
    try:
        if (job := prepare()) is None:
            return JobEnd()
        folder.path.mkdir(exist_ok=True)
        told = (job.config, folder, job.overrides, job.notes)
        return JobEnd(execute(*told, report=plot_run, display=display))
    except UserError as error:
        print_problems(error)
    except OSError as error:
        print_problems(UserError(one_line(error)))
    finally:
        tell_end(folder)
        if sweep is not None:
            _add_to_summary(sweep, folder)
            if fail_fast and folder.standing() in ("failed", "diverged"):
                note_failure(sweep, folder)
    return JobEnd(refused=True)


def tell_end(folder: RunFolder) -> None:
    """Print how a job stands, and its result, as JSON where that is asked for."""
    state = folder.read_status()
    tell(
        "end",
        folder=str(folder.path),
        status=folder.standing(),
        reason=state.get("reason", ""),
        exit_code=state.get("exit_code"),
        result=folder.read_result(),
    )


def new_or_rest(folder: RunFolder, job: Job) -> Job | None:
    """The job, or what is left of it where it has started; None where it is done."""
    if folder.config.exists() and TASKS[job.config.task].trains:
        return rest(folder, {}, job)
    return None if folder.read_status().get("status") == "done" else job


def rest(folder: RunFolder, typed: Mapping[str, Any], begun: Job | None = None) -> Job | None:
    """What is left of a run; None where nothing is. Raises ``UserError``.

    ``begun``: the job of its sweep that it is the rest of, if known.
    """
    job = rest_of(folder, typed, begun)
    if job is not None:
        has_weights = folder.last.exists()  # of its own, by now
        preflight(job.config.model_copy(update={"init_from": None} if has_weights else {}))
    return job


def _add_to_summary(sweep: Path, folder: RunFolder) -> None:
    try:
        add_row(sweep, folder)
    except Exception as error:  # a full disk, a file that somebody has edited
        complain(f"{sweep}: no row in summary.csv ({one_line(error)})")


def exit_code(folder: RunFolder) -> int:
    """Return the exit code that this process recorded in a run folder.

    1 where it could not record one, 2 where another process is running in the folder.
    """
    status = folder.read_status()
    if status.get("pid") != os.getpid():
        return 2 if status and folder.is_locked() else 1
    code = status.get("exit_code")
    return code if isinstance(code, int) else 1
