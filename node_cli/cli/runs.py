"""Running the jobs of sweeps and tables, new or resumed, and the rest of single runs."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from node_cli.cli.command import Command, Job
from node_cli.cli.fail_fast import forget_failure
from node_cli.cli.hydra_app import launch
from node_cli.cli.job_lines import JobLines
from node_cli.cli.jobs import exit_code, new_or_rest, rest, run_job, tell_end
from node_cli.cli.published import check_published, show_published
from node_cli.cli.resume import check_unchanged, chosen_job, command_of, job_in, lift
from node_cli.cli.search import Search
from node_cli.cli.under_way import under_way, update_summary
from node_cli.config.messages import shell_override
from node_cli.config.section import absolute
from node_cli.display import Display, last_line, tell
from node_cli.errors import UserError, check_all, complain
from node_cli.machine.ranks import here
from node_cli.records import sweep_folder
from node_cli.records.files import short
from node_cli.records.run_folder import RunFolder
from node_cli.report.summary import as_text
from node_cli.tasks.setup import preflight

# Alone in the folder of a sweep of the first versions.
HYDRAS_FILE = "multirun.yaml"


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
    jobs = dict(enumerate(command.jobs, lines.first))
    if command.is_launched:
        for number in sorted(jobs.keys() - {*lines.open}):
            tell_end(RunFolder(command.folder / str(number)))
        with lines.looking():
            launch(command, {number: jobs[number] for number in lines.open})
        return False
    refused = False
    for number, job in jobs.items():
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
        job = rest(folder, typed, job_in(sweep, path.name) if sweep else None)
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
    """Say how to go on with the sweep of a folder where it is interrupted, or the disk is full."""
    try:
        yield
    except (KeyboardInterrupt, OSError):
        complain(f"go on with the sweep: node-train {shell_override('resume', folder)}")
        raise


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
