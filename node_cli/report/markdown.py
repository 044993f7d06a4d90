"""Measured values and tables as text, in Markdown."""

from collections.abc import Sequence
from itertools import islice
from statistics import mean, stdev
from typing import Any

from node_cli.records.measures import unit

Column = Sequence[str]
"""The cells of a column, its heading first."""


def number(name: str, value: float | None) -> str:
    """Return a value of the measure ``name`` in its unit's form; empty for None."""
    return unit(name).in_report(value)


def spread(name: str, values: Sequence[float | None]) -> str:
    """Return mean ± standard deviation of the values that are not None; a single value as it is."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return number(name, known[0] if known else None)
    return f"{number(name, mean(known))} ± {unit(name).spread_in_report(stdev(known))}"


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Any]],
    width: int | None = None,
    fixed: int = 1,
    together: Sequence[int] = (),
) -> str:
    """Return a Markdown table with aligned columns; None is an empty cell.

    ``width``: where the table is wider, its columns make several tables, one below the other, each
    with the first ``fixed`` columns; None for no limit. ``together``: of how many columns the
    others make groups, which are not parted if they are not too wide; each is one if left out.
    """
    cells = [[str(name) for name in header]]
    cells += [["" if value is None else str(value) for value in row] for row in rows]
    columns: list[Column] = list(zip(*cells, strict=True))
    others = iter(columns[fixed:])
    groups = [list(islice(others, size)) for size in together or [1] * (len(columns) - fixed)]
    return "\n".join(_table(part) for part in _parts(columns[:fixed], groups, width))


def _parts(
    fixed: Sequence[Column], groups: Sequence[list[Column]], width: int | None
) -> list[list[Column]]:
    """The columns of each table."""
    parts: list[list[Column]] = [[*fixed]]
    for group in groups:
        is_too_wide = width is not None and _width([*fixed, *group]) > width
        for some in [[column] for column in group] if is_too_wide else [group]:
            begun = len(parts[-1]) > len(fixed)
            if width is not None and begun and _width([*parts[-1], *some]) > width:
                parts.append([*fixed])
            parts[-1] += some
    return parts


def _width(columns: Sequence[Column]) -> int:
    return sum(max(map(len, column)) + 3 for column in columns) + 1


def _table(columns: Sequence[Column]) -> str:
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in zip(*columns, strict=True)
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"
