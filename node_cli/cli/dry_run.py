"""``--dry-run``: what a command would do, and nothing written."""

from collections.abc import Sequence

from node_cli.cli.command import Command
from node_cli.display import Display, tell
from node_cli.errors import complain, one_line
from node_cli.tasks.rehearsal import Rehearsed, rehearse, steps_of


def dry_run(commands: Sequence[Command], *, one: bool) -> int:
    """Show what would run; return the exit code.

    ``one``: a single run, of which the first training steps are made and measured. Of a sweep the
    jobs are listed. Raises ``UserError`` where data is missing.
    """
    display = Display()
    if one:
        return _run(commands[0], display)
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


def _run(command: Command, display: Display) -> int:
    (job,) = command.jobs
    for note in job.notes:
        display.line(f"note: {note}")
    found = rehearse(job.config, command.folder, display)
    if isinstance(found, RuntimeError):
        complain(f"failed: {one_line(found)}")
        return 1
    if found is None:
        display.line("no training; nothing is written")
    elif found.step_seconds is None:
        display.line(f"{found.steps:,} steps; the data is not there yet, it would be downloaded")
    else:
        display.facts(_facts(found))
    facts = {} if found is None else found._asdict()
    tell("dry_run", folder=str(command.folder), overrides=[*job.overrides], **facts)
    return 0


def _facts(found: Rehearsed) -> dict[str, str]:
    assert found.step_seconds is not None
    seconds = found.steps * found.step_seconds
    milliseconds = 1000 * found.step_seconds
    digits = ",.0f" if milliseconds >= 100 else ".3g"
    step = f"{milliseconds:{digits}} ms, the median of {found.measured}"
    memory = "not known" if found.memory_mib is None else f"{found.memory_mib:,.1f} MiB in a step"
    return {
        "a step": step,
        "training": f"{found.steps:,} steps, {_duration(seconds)}; evaluations come on top",
        "memory": f"{memory}, beside weights, optimizer and data ({found.held_mib:,.1f} MiB)",
        "written": "nothing",
    }


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
