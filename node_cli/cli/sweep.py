"""What the jobs of a sweep have in common: a record of what was typed, a lock, a summary."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from node_cli.cli import runs
from node_cli.cli.compose import Command, Composer, is_table
from node_cli.config.messages import shell_override
from node_cli.display import Display
from node_cli.errors import UserError, complain, one_line
from node_cli.records.files import write_text
from node_cli.records.run_folder import RunFolder
from node_cli.report.over_seeds import Row
from node_cli.report.summary import as_text, summarise

FILE = "sweep.json"


@dataclass(frozen=True)
class Typed:
    """What was typed for a sweep, and where: the content of sweep.json."""

    overrides: list[str]
    config_name: str | None
    config_dir: str | None
    working_directory: str


def is_sweep(folder: Path) -> bool:
    return _file(folder).is_file()


def record(
    folder: Path, overrides: list[str], config_name: str | None, config_dir: str | None
) -> None:
    """Write down what ``recorded`` needs."""
    typed = Typed(overrides, config_name, config_dir, str(Path.cwd()))
    write_text(_file(folder), json.dumps(asdict(typed), indent=2) + "\n")


def inside(folder: Path, depth: str = "*") -> list[Path]:
    """The sweeps that a folder holds: itself, or those of the tables of one command; with
    ``depth="**"`` all below it."""
    return (
        [folder] if is_sweep(folder) else sorted(f.parent for f in folder.glob(f"{depth}/{FILE}"))
    )


def read(folder: Path) -> Typed:
    """What ``record`` has written. Raises ``UserError`` where it is damaged."""
    try:
        text = _file(folder).read_text(encoding="utf-8")
        return TypeAdapter(Typed).validate_json(text, strict=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{_file(folder)}: damaged ({one_line(error)})") from error


def recorded(folder: Path) -> Command:
    """The jobs of the sweep that began in ``folder``, composed again from what was typed for it.

    Of a table the file as it is now, of several tables the one that the folder is named after. Job
    N lies in, or goes to, the folder N. Raises ``UserError`` where the configuration has become
    wrong since.
    """
    typed = read(folder)
    if any(o.lstrip("+").startswith("hydra/sweeper=") for o in typed.overrides):
        raise UserError(f"resume={folder}: a sweeper chose its values; resume its runs one by one")
    here = Path.cwd() / folder
    # What was typed is relative to where it was typed, unless this is another machine.
    directory = typed.working_directory if Path(typed.working_directory).is_dir() else "."
    with contextlib.chdir(directory), Composer(typed.config_name, typed.config_dir) as composer:
        if is_table(typed.overrides):
            named = {c.folder.name: c for c in composer.tables(typed.overrides)}
            if here.name not in named:
                raise UserError(f"resume={folder}: must have the name of its table, {[*named]}")
            command = named[here.name]
        else:
            command = composer.command(typed.overrides, multirun=True)
    return replace(command, folder=runs.short(here))


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Where a sweep is interrupted, say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        complain(f"go on with the sweep: node-train {shell_override('resume', folder)}")
        raise


def announce(number: int, overrides: Sequence[str]) -> None:
    Display().line(f"\njob {number}: {' '.join(overrides)}\n")


def update_summary(folder: Path) -> list[Row]:
    """``summarise``, where records and disk allow it; else no rows."""
    try:
        return summarise(folder)
    except (OSError, ValueError, LookupError) as error:
        complain(f"{folder}: no summary ({one_line(error)})")
        return []


def result(command: Command) -> int:
    """Print the table of a finished sweep; 1 where a job failed or is missing."""
    rows = update_summary(command.folder)
    Display().line(f"\n{as_text(rows)}\n{command.folder / 'summary.csv'}")
    runs.show_published(command.folder, [RunFolder(command.folder / row["job"]) for row in rows])
    return 0 if len(rows) >= len(command.jobs) and all(r["status"] == "done" for r in rows) else 1


def _file(folder: Path) -> Path:
    return folder / FILE
