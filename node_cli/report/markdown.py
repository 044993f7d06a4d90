"""Numbers and tables as text, in Markdown."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any


def number(name: str, value: float | None) -> str:
    """A measured value as the column of that name shows it; empty for None."""
    if value is None:
        return ""
    if name.endswith(("accuracy", "error")):
        return f"{value:.2%}"
    if name == "parameters":
        return f"{value:,.0f}"
    return f"{value:.5g}" if name.endswith("loss") else f"{value:.4g}"


def spread(name: str, values: Sequence[float | None]) -> str:
    """Mean and standard deviation of the values that are there; the value where there is one."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return number(name, known[0] if known else None)
    return f"{number(name, mean(known))} ± {number(name, stdev(known))}"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table with aligned columns."""
    cells = [[str(name) for name in header]]
    cells += [["" if value is None else str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"
