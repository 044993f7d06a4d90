"""Running jobs: a single run, the jobs of a sweep or of a table, new or resumed.

``run_job`` is the only place where a job is run. A single run and a sweep with ``-m`` are started
by Hydra, which calls it for each job; tables and resumed runs and sweeps are started here.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from node_cli.cli.command import Command, Job
from node_cli.cli.fail_fast import failed_job, forget_failure, note_failure
from node_cli.cli.hydra_app import launch
from node_cli.cli.job_lines import JobLines
from node_cli.cli.published import check_published, show_published
from node_cli.cli.resume import check_unchanged, chosen_job, command_of, job_in, lift, rest_of
from node_cli.cli.search import Search
from node_cli.cli.under_way import under_way, update_summary
from node_cli.config.messages import shell_override
from node_cli.config.section import absolute
from node_cli.config.tasks import TASKS
from node_cli.display import Display, last_line, tell
from node_cli.errors import UserError, check_all, complain, one_line, print_problems
from node_cli.machine.ranks import here
from node_cli.records import sweep_folder
from node_cli.records.files import short
from node_cli.records.run_folder import RunFolder
from node_cli.report.run_plots import plot_run
from node_cli.report.summary import add_row, as_text
from node_cli.tasks.run import execute
from node_cli.tasks.setup import preflight

# Alone in the folder of a sweep of the first versions.
HYDRAS_FILE = "multirun.yaml"


@dataclass(frozen=True)
class JobEnd:
    """How a job ended. ``refused``: it was not run at all."""

    score: float | None = None
    refused: bool = False


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
        _tell_end(folder)
        if sweep is not None:
            _add_to_summary(sweep, folder)
            if fail_fast and folder.standing() in ("failed", "diverged"):
                note_failure(sweep, folder)
    return JobEnd(refused=True)


def _tell_end(folder: RunFolder) -> None:
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


def run_sweeps(path: Path, commands: Sequence[Command]) -> int:
    """Run, of each sweep in turn, the rest of every job that has started and every other job.

    ``path``: the folder of the only sweep, or of all of them. Returns the largest exit code.
    """
    with resumable(path):
        return max(_run_sweep(command) for command in commands)


def _run_sweep(command: Command) -> int:
    with under_way(command.folder):
        sweep_folder.set_jobs(command.folder, command.count)
        forget_failure(command.folder)
        if command.search:
            return _run_search(command, command.search)
        lines, display = JobLines(command.folder, command.jobs), Display()
        if done := command.count - len(lines.open):
            display.line(f"{done} of {command.count} jobs are done already")
        refused = _run_jobs(command, lines, display)
    return max(finish_sweep(command), int(refused))


def _run_jobs(command: Command, lines: JobLines, display: Display) -> bool:
    """Run jobs of a sweep; return whether one was refused."""
    if command.is_launched:
        with lines.looking():
            launch(command, lines.first)
        return False
    refused = False
    for number, job in enumerate(command.jobs, lines.first):
        folder = RunFolder(command.folder / str(number))
        end = run_job(
            folder,
            partial(new_or_rest, folder, job),
            announce=lines.announcement(number) if number in lines.open else "",
            sweep=command.folder,
            fail_fast=job.config.sweep.fail_fast,
            display=display,
        )
        refused |= end.refused
        lines.look()
    return refused


def _run_search(command: Command, search: Search) -> int:
    """Run the trials of a search that have not ended yet; return the exit code."""
    trials, display = search.trials(command.folder), Display()
    while batch := trials.batch():
        jobs = [chosen_job(command, values) for values in batch.values()]
        lines = JobLines(command.folder, jobs, min(batch), command.count, search.keys)
        _run_jobs(replace(command, jobs=jobs), lines, display)
        for number in batch:
            trials.end(number)
    code = finish_sweep(command)
    trials.tell_best(display)
    return code


def new_or_rest(folder: RunFolder, job: Job) -> Job | None:
    """The job, or what is left of it where it has started; None where it is done."""
    if folder.config.exists() and TASKS[job.config.task].trains:
        return _rest(folder, {}, job)
    return None if folder.read_status().get("status") == "done" else job


def _rest(folder: RunFolder, typed: Mapping[str, Any], begun: Job | None = None) -> Job | None:
    """What is left of a run; None where nothing is. Raises ``UserError``.

    ``begun``: the job of its sweep that it is the rest of, if known.
    """
    job = rest_of(folder, typed, begun)
    if job is not None:
        has_weights = folder.last.exists()  # of its own, by now
        preflight(job.config.model_copy(update={"init_from": None} if has_weights else {}))
    return job


def resume(location: str, typed: Mapping[str, Any]) -> int:
    """Go on with the run or sweep that a folder holds; return the exit code.

    ``typed``: the other overrides, key to value. Raises ``UserError`` where a sweep cannot go on.
    The folder of a run that cannot go on is left as it was.
    """
    try:
        path = short(Path(absolute(location)))
    except ValueError as error:
        raise UserError(f"resume={location}: {error}") from error
    if path.suffix == ".pt":  # a checkpoint, of the run whose folder is above
        path = path.parent
    if path.name == "checkpoints" and (path.parent / "config.yaml").is_file():
        path = path.parent
    if sweeps := sweep_folder.sweeps_in(path):
        if typed:
            raise UserError(f"{', '.join(typed)}: not with the resume= of a sweep")
        if here().several:
            raise UserError(f"resume={path}: a sweep, is for one process, there are {here().size}")
        commands = [command_of(sweep) for sweep in sweeps]
        for command in commands:
            check_unchanged(command)
            preflight_all(command)
        return run_sweeps(path, commands)
    if (path / HYDRAS_FILE).is_file():
        raise UserError(
            f"resume={path}: a sweep of a version that did not write {sweep_folder.FILE}; "
            "resume its runs one by one"
        )
    folder = RunFolder(path)
    sweep = path.parent if sweep_folder.is_sweep(path.parent) else None
    is_finished = False

    def prepare() -> Job | None:
        nonlocal is_finished
        job = _rest(folder, typed, job_in(sweep, path.name) if sweep else None)
        if job is None:
            is_finished = True
            reason = folder.read_status().get("reason")
            Display().line(
                f"{path}: this run has stopped ({reason}); {lift(str(reason))}"
                if reason
                else f"{path}: this run is finished; train it further with epochs=N"
            )
        return job

    try:
        if run_job(folder, prepare).refused:
            return 2
    finally:
        if sweep is not None:
            update_summary(sweep)
    show_published(path, [folder])
    last_line(path)
    return 0 if is_finished else exit_code(folder)


def preflight_all(command: Command) -> None:
    """Check every job before the first one starts, with torch and against the records.

    Raises ``UserError`` with every problem found.
    """
    check_all(
        *(partial(preflight, job.config) for job in command.jobs),
        *(partial(check_published, job.config) for job in command.jobs),
    )


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say how to go on with the sweep of a folder where it is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        complain(f"go on with the sweep: node-train {shell_override('resume', folder)}")
        raise


def _add_to_summary(sweep: Path, folder: RunFolder) -> None:
    try:
        add_row(sweep, folder)
    except Exception as error:  # a full disk, a file that somebody has edited
        complain(f"{sweep}: no row in summary.csv ({one_line(error)})")


def finish_sweep(command: Command) -> int:
    """Print the table of a finished sweep; return 1 where a job failed or is missing, else 0."""
    rows = update_summary(command.folder)
    display = Display()
    display.report(f"\n{as_text(rows, display.width)}")
    display.line(f"\n{command.folder / 'summary.csv'}")
    done = {row["job"] for row in rows if row["status"] == "done"}
    show_published(command.folder, [RunFolder(command.folder / name) for name in sorted(done)])
    tell("sweep", folder=str(command.folder), jobs=command.count, done=len(done))
    last_line(command.folder)
    return 0 if done.issuperset(map(str, range(command.count))) else 1


def exit_code(folder: RunFolder) -> int:
    """Return the exit code that this process recorded in a run folder.

    1 where it could not record one, 2 where another process is running in the folder.
    """
    status = folder.read_status()
    if status.get("pid") != os.getpid():
        return 2 if status and folder.is_locked() else 1
    code = status.get("exit_code")
    return code if isinstance(code, int) else 1
