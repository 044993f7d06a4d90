"""``--dry-run``: what a command would do, and nothing written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from node_cli.cli.command import Command, Job
from node_cli.cli.search import DIRECTION, SOUGHT, Search
from node_cli.display import Display, tell
from node_cli.errors import complain, one_line
from node_cli.tasks.rehearsal import Rehearsed, rehearse
from node_cli.tasks.steps import steps_of


def dry_run(commands: Sequence[Command], *, one: bool) -> int:
    """Show what would run; return the exit code.

    ``one``: a single run, of which the first training steps are made and measured. Of a sweep the
    jobs are listed. Raises ``UserError`` where data is missing.
    """
    display = Display()
    if one:
        return _run(commands[0].jobs[0], commands[0].folder, display)
    for command in commands:
        display.line(f"{command.folder}: {len(command.jobs)} jobs")
        total = 0
        for number, job in enumerate(command.jobs):
            steps = steps_of(job.config)
            total += steps or 0
            words = f", {steps:,} steps" if steps is not None else ""
            display.line(f"  {number}  {' '.join(job.overrides) or 'the defaults'}{words}")
            for note in job.notes:
                display.line(f"     note: {note}")
            folder = command.folder / str(number)
            tell("dry_run", folder=str(folder), overrides=[*job.overrides], steps=steps)
        display.line(f"{total:,} training steps together; nothing is written")
    return 0


def dry_search(search: Search, folder: Path, first: Job) -> int:
    """Show what a search would do; return the exit code. ``first``: the job of its first trial, of
    which the first training steps are made and measured. Raises ``UserError`` as ``dry_run``."""
    display, options = Display(), search.options
    at_once = f", {options.n_jobs} chosen together" * (options.n_jobs > 1)
    display.line(f"{folder}: a search of {options.n_trials} trials{at_once}")
    space = {o.key: o.text.partition("=")[2] for o in search.space}
    display.facts(
        {
            "sought": "the highest holdout accuracy of an epoch",
            "sampler": f"{options.sampler}, seed {options.seed}",
            **{f"  {key}": values for key, values in space.items()},
            "trial 0": " ".join(first.overrides),
        }
    )
    display.line()
    facts = {"sought": SOUGHT, "direction": DIRECTION, "space": space}
    return _run(first, folder / "0", display, trials=options.n_trials, **facts)


def _run(job: Job, folder: Path, display: Display, trials: int = 0, **facts: Any) -> int:
    """Show a single run, or the first of a search's ``trials``. ``facts``: to be told with JSON."""
    for note in job.notes:
        display.line(f"note: {note}")
    found = rehearse(job.config, folder, display)
    if isinstance(found, Exception):
        complain(f"failed: {one_line(found)}")
        return 1
    if found is None:
        display.line("no training; nothing is written")
    elif found.step_seconds is None:
        display.line(f"{found.steps:,} steps; the data is not there yet, it would be downloaded")
    else:
        display.facts(_facts(found, trials))
    if trials:
        facts["trials"] = trials
    if found is not None:
        facts |= found._asdict()
    tell("dry_run", folder=str(folder), overrides=[*job.overrides], **facts)
    return 0


def _facts(found: Rehearsed, trials: int) -> dict[str, str]:
    assert found.step_seconds is not None
    seconds = found.steps * found.step_seconds
    milliseconds = 1000 * found.step_seconds
    digits = ",.0f" if milliseconds >= 100 else ".3g"
    step = f"{milliseconds:{digits}} ms, the median of {found.measured}"
    memory = "not known" if found.memory_mib is None else f"{found.memory_mib:,.1f} MiB in a step"
    search = {"search": f"{trials} trials like this one, {_duration(trials * seconds)}"}
    return {
        "a step": step,
        "training": f"{found.steps:,} steps, {_duration(seconds)}; evaluations come on top",
        **(search if trials else {}),
        "memory": f"{memory}, beside weights, optimizer and data ({found.held_mib:,.1f} MiB)",
        "written": "nothing",
    }


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
