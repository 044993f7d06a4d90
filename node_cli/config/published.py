"""Printed numbers in a configuration, to be put beside ours."""

from math import isfinite
from typing import Annotated

from pydantic import Field, model_validator

from node_cli.config.section import Section

# A published row belongs to an epoch or to a step, by its first column; else to the end of a run.
PLACES = ("epoch", "step")


class PublishedTable(Section):
    """Printed numbers, to be put beside ours where the configuration has every value of ``setting``
    (dotted keys; a list is that of the names in a section that holds several).

    ``columns``: names, separated by blanks: those of our records. A first column ``epoch`` or
    ``step`` says where a row belongs; without one the only row belongs to the end of the run.
    ``rows``: numbers, separated by blanks, ``-`` where none was printed; accuracies as fractions.
    """

    title: str
    source: str
    setting: dict[str, bool | int | float | str | list[str]] = Field(default_factory=dict)
    columns: str
    rows: Annotated[list[str], Field(min_length=1)]
    note: str | None = None

    @model_validator(mode="after")
    def _sound(self) -> "PublishedTable":
        names = self.columns.split()
        if len(set(names)) < len(names) or not {*names} - {*PLACES} or {*PLACES} & {*names[1:]}:
            raise ValueError(
                f"columns {self.columns!r}: names, each once, and epoch or step first if at all"
            )
        if names[0] not in PLACES and len(self.rows) > 1:
            raise ValueError("rows: a single one, since columns name no epoch or step")
        for row in self.rows:
            _check_row(row, names)
        return self


def _check_row(row: str, names: list[str]) -> None:
    """Raise ValueError where a row is not one number, or a dash, for each name."""
    cells = row.split()
    if len(cells) != len(names):
        raise ValueError(f"row {row!r}: needs {len(names)} numbers, {' '.join(names)}")
    for name, cell in zip(names, cells, strict=True):
        if name in PLACES and not cell.isdecimal():
            raise ValueError(f"row {row!r}: {name} {cell} is not a whole number")
        if cell == "-":
            continue
        if not _is_number(cell):
            raise ValueError(f"row {row!r}: {cell} is not a number")
        if name.endswith(("accuracy", "error")) and not 0 <= float(cell) <= 1:
            raise ValueError(f"row {row!r}: {name} {cell} is not a fraction")


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False
