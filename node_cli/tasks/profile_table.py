"""The table of ``task=profile``: from the seconds of many steps to rows, and to lines."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any, TypeVar

from node_cli.records.columns import PROFILE
from node_cli.tasks.step_parts import PARTS, Parts, Place

# The columns on the terminal, and their widths.
SHOWN = {
    "": 10,
    "forward": 9,
    "backward": 9,
    "share": 7,
    "MiB": 8,
    "MFLOP": 9,
    "GFLOP/s": 8,
    "calls": 6,
}
LEGEND = """\
forward, backward: milliseconds. MiB: most memory held in the part, beyond what was held before the
step. MFLOP: convolutions and matrix products alone, as torch counts them."""

Row = dict[str, Any]
"""A row of profile.csv."""

Seconds = Mapping[Place, float]

Value = TypeVar("Value")


def middle(values: Sequence[Value], key: Callable[[Value], float]) -> Sequence[Value]:
    """All but the smallest quarter and the largest one."""
    ordered, quarter = sorted(values, key=key), len(values) // 4
    return ordered[quarter : len(ordered) - quarter]


def usual(steps: Sequence[Seconds]) -> Seconds:
    """The mean of the steps in the middle."""
    kept = middle(steps, lambda step: sum(step.values()))
    places = dict.fromkeys(place for step in kept for place in step)
    return {place: mean(step.get(place, 0.0) for step in kept) for place in places}


def rows_of_parts(
    seconds: Seconds,
    memory: Mapping[str, float],
    flops: Mapping[str, float],
    parts: Parts[Any],
) -> list[Row]:
    """A row for each part that the step came to."""
    rows = []
    for part in PARTS:
        forward, backward = (seconds.get(Place(part, way)) for way in (False, True))
        if forward is None and backward is None:
            continue
        row = dict.fromkeys(PROFILE.columns) | {
            "part": part,
            "seconds": (forward or 0.0) + (backward or 0.0),
            "seconds_forward": forward,
            "seconds_backward": backward,
            "peak_memory_mib": memory.get(part),
            "flops": flops.get(part),
            "calls": parts.calls(part),
        }
        rows.append(row)
    return rows


def sums(rows: list[Row], total: float, step: float) -> list[Row]:
    """The rows of all parts together, and of a step that was not looked at."""
    peaks = [row["peak_memory_mib"] for row in rows if row["peak_memory_mib"] is not None]
    empty = dict.fromkeys(PROFILE.columns)
    added = empty | {
        "part": "sum",
        "seconds": total,
        **{
            f"seconds_{way}": sum(row[f"seconds_{way}"] or 0.0 for row in rows)
            for way in ("forward", "backward")
        },
        "share": 1.0,
        "peak_memory_mib": max(peaks, default=None),
        "flops": sum(row["flops"] or 0 for row in rows),
    }
    return [added, empty | {"part": "step", "seconds": step}]


def cells_of(row: Row) -> dict[str, str]:
    """The cells of a row on the terminal."""

    def shown(form: str, value: float | None, scale: float = 1) -> str:
        return "" if value is None else format(value * scale, form)

    if row["part"] == "step":
        return dict.fromkeys(SHOWN, "") | {"": "step", "forward": shown(".3f", row["seconds"], 1e3)}
    flops = row["flops"]
    speed = flops / row["seconds"] if flops and row["seconds"] else None
    return {
        "": row["part"],
        "forward": shown(".3f", row["seconds_forward"], 1e3),
        "backward": shown(".3f", row["seconds_backward"], 1e3),
        "share": shown(".1%", row["share"]),
        "MiB": shown(".2f", row["peak_memory_mib"]),
        "MFLOP": shown(",.1f", flops, 1e-6) if flops else "",
        "GFLOP/s": shown(".2f", speed, 1e-9),
        "calls": str(row["calls"]) if row["part"] in ("f", "VJPs") else "",
    }


def line(cells: Mapping[str, str]) -> str:
    return " ".join(
        f"{cells[name]:{'>' if name else '<'}{width}}" for name, width in SHOWN.items()
    ).rstrip()
