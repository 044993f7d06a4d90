"""Files that are never seen half-written: text, JSON and CSV."""

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from node_cli.errors import UserError, one_line
from node_cli.records.measures import ADDED

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Columns of the records of a training that are text.
TEXTS = ("split",)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name to write to; it becomes ``path`` once the file is whole and on disk.

    The replacement is atomic. Where the block raises, ``path`` stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def waiting_for(path: Path) -> Iterator[None]:
    """Within it no other process is within this, for the same file; wait until that is so. The
    file itself is left alone. Nothing is waited for where there are no locks, or no file."""
    with ExitStack() as stack:
        if fcntl is not None:
            with suppress(OSError):
                file = stack.enter_context(path.open("rb"))
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_text(path: Path, text: str) -> None:
    """Write a whole text file in UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a whole CSV file, atomically. Floats keep all their digits, None is an empty cell."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file, by column; an unfinished last line is left out.

    A file that does not exist has no rows. Raises ``UserError`` where it is not a CSV file.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        header, *lines = csv.reader(text[: text.rfind("\n") + 1].splitlines())
        return [dict(zip(header, line, strict=True)) for line in lines]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: damaged ({one_line(error)})") from error


def rows_up_to(path: Path, columns: Sequence[str], step: int) -> list[dict[str, str]]:
    """Return the rows whose ``step`` is at most ``step``.

    Raises ``UserError`` where the file is damaged or has other columns, but for those of
    regularisers, which come after all others.
    """
    without = tuple(c for c in columns if c not in ADDED)
    rows = read_csv(path)
    try:
        for row in rows:
            names = tuple(row)
            if names[: len(columns)] != tuple(columns) and names[: len(without)] != without:
                raise ValueError(f"columns {', '.join(row)}")
        return [row for row in rows if int(row["step"]) <= step]
    except ValueError as error:
        raise UserError(f"{path}: damaged ({one_line(error)})") from error


def check_numbers(path: Path, rows: list[dict[str, str]]) -> None:
    """Raise ``UserError`` where a cell of a CSV file is neither empty nor a finite number."""
    for line, row in enumerate(rows, start=2):
        for column, cell in row.items():
            if cell and column not in TEXTS and not is_number(cell):
                raise UserError(f"{path}: line {line}: {column}: {cell[:40]!r}, must be a number")


def check_order(path: Path, rows: list[dict[str, str]], counted: str) -> None:
    """Raise ``UserError`` unless the column ``counted`` is 1, 2, 3, ...: a row is missing, there
    twice, or in another place."""
    for number, row in enumerate(rows, start=1):
        if row[counted] != str(number):
            raise UserError(
                f"{path}: line {number + 1}: {counted} {row[counted][:40]}, must be {number}"
            )


def is_number(value: object) -> bool:
    """Whether a value, or the text in a cell, is a finite number."""
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False


class CsvLog:
    """A CSV file that grows row by row. Each row is handed to the operating system at once."""

    def __init__(self, path: Path, columns: Sequence[str], keep_to_step: int) -> None:
        """Open for appending; rows after step ``keep_to_step`` and an unfinished line are cut.

        Raises ``UserError`` where the file is damaged.
        """
        self.columns = columns
        write_csv(path, columns, rows_up_to(path, columns, keep_to_step))
        self._file = path.open("a", newline="", encoding="utf-8", buffering=1)
        self._writer = csv.writer(self._file, lineterminator="\n")

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row, which has exactly the columns of the file; None is an empty cell."""
        assert set(row) == set(self.columns), set(row) ^ set(self.columns)
        self._writer.writerow([row[column] for column in self.columns])

    def sync(self) -> None:
        """Wait until every row is on disk. Cost: one fsync."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty where the file is missing or unreadable."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # the last of deep nesting
        return {}
    return value if isinstance(value, dict) else {}


def short(path: Path) -> Path:
    """Return the path relative to the working directory where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
