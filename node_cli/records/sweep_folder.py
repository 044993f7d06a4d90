"""The folder of a sweep: what was typed for it. Its jobs lie in the folders 0, 1, ... of it."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from node_cli.errors import UserError, one_line
from node_cli.records.files import write_text

FILE = "sweep.json"


@dataclass(frozen=True)
class Typed:
    """What was typed for a sweep, and in which folder: the content of sweep.json.

    ``jobs``: how many there are; None where a sweeper plugin chooses them as it goes, and in files
    of older versions.
    """

    overrides: list[str]
    config_name: str | None
    config_dir: str | None
    working_directory: str
    jobs: int | None = None


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (folder / FILE).is_file()


def sweeps_in(folder: Path, depth: str = "*") -> list[Path]:
    """Return the folder itself where it is a sweep, else the sweeps one level below it.

    ``depth="**"``: on every level below it.
    """
    if is_sweep(folder):
        return [folder]
    return sorted(file.parent for file in folder.glob(f"{depth}/{FILE}"))


def jobs_in(folder: Path) -> list[str]:
    """Return the names of the folders of a sweep's jobs that have started, in their order.

    Others, copies of a job or runs that somebody has put there, are not jobs of the sweep.
    """
    found = [file.parent.name for file in folder.glob("*/status.json")]
    numbers = sorted(int(n) for n in found if n.isdecimal() and n == str(int(n)))
    count = _number_of_jobs(folder)
    return [str(n) for n in numbers if count is None or n < count]


def _number_of_jobs(folder: Path) -> int | None:
    try:
        return read(folder).jobs
    except UserError:  # whoever needs what was typed says so
        return None


def set_jobs(folder: Path, jobs: int) -> None:
    """Record how many jobs there are: a table may have got more rows. Raises OSError."""
    if (typed := read(folder)).jobs != jobs:
        write(folder, replace(typed, jobs=jobs))


def write(folder: Path, typed: Typed) -> None:
    """Write sweep.json. Raises OSError."""
    write_text(folder / FILE, json.dumps(asdict(typed), indent=2) + "\n")


def read(folder: Path) -> Typed:
    """Return what ``write`` has written. Raises ``UserError`` where it is damaged."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
        return TypeAdapter(Typed).validate_json(text, strict=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / FILE}: damaged ({one_line(error)})") from error
