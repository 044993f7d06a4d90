"""Measured values and tables as text, in Markdown."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from node_cli.records.measures import unit


def number(name: str, value: float | None) -> str:
    """Return a value of the measure ``name`` in its unit's form; empty for None."""
    return unit(name).in_report(value)


def spread(name: str, values: Sequence[float | None]) -> str:
    """Return mean ± standard deviation of the values that are not None; a single value as it is."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return number(name, known[0] if known else None)
    return f"{number(name, mean(known))} ± {number(name, stdev(known))}"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table with aligned columns; None is an empty cell."""
    cells = [[str(name) for name in header]]
    cells += [["" if value is None else str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"
