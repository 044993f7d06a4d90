"""What a page shows of the inside of a model: paths, the flow of states, classes, the plane."""

from collections.abc import Mapping
from typing import Any

from node_cli.records.columns import (
    BOUNDARY,
    CLASSES,
    CONFUSION,
    FLOW,
    PATHS,
    POINTS,
    VECTOR_FIELD,
)
from node_cli.report.compared import ComparedSetting
from node_cli.report.curves import short
from node_cli.report.found_runs import FoundRun

MOST_STATES = 100  # images whose states move
DIGITS = 4

Data = dict[str, Any]


def inside_of(setting: ComparedSetting) -> Data:
    """What there is of it, of the first run of a setting that has recorded any: ``paths``,
    ``flow``, ``classes``, ``confusion`` and ``plane``; None, or an empty list, for what there is
    not."""
    for run in setting.runs:
        records = (PATHS, CLASSES, CONFUSION)
        if run.damage is None and any(run.rows(record.file) for record in records):
            return {
                "paths": _paths(run),
                "flow": _flow(run),
                "classes": _classes(run),
                "confusion": _confusion(run),
                "plane": _plane(run),
            }
    return {"paths": [], "flow": None, "classes": [], "confusion": None, "plane": None}


def _paths(run: FoundRun) -> list[Data]:
    """A panel for each coordinate of each ODE block, with a line for each class; ``t`` belongs to
    every line of a panel."""
    panels: dict[tuple[str, str], dict[str, list[Mapping[str, str]]]] = {}
    for row in run.rows(PATHS.file):  # records of older versions know one block alone
        panel = panels.setdefault((row.get("block", "1"), row["coordinate"]), {})
        panel.setdefault(row["label"], []).append(row)
    return [
        {
            "block": block,
            "coordinate": coordinate,
            "t": [short(float(row["t"])) for row in next(iter(lines.values()))],
            "lines": {
                label: [short(float(row["y"])) for row in line] for label, line in lines.items()
            },
        }
        for (block, coordinate), lines in panels.items()
    ]


def _flow(run: FoundRun) -> Data | None:
    """The states of some images: their labels, the times, and for each image y0 and y1 at these
    times, one after the other; the arrows of f, if there are any, of each of their times."""
    states: dict[str, list[Mapping[str, str]]] = {}
    for row in run.rows(FLOW.file):
        states.setdefault(row["image"], []).append(row)
    if not states:
        return None
    chosen = [*states.values()][:: -(-len(states) // MOST_STATES)]
    arrows: dict[float, list[list[float]]] = {}
    for row in run.rows(VECTOR_FIELD.file):
        arrow = [_number(row[name]) for name in ("y0", "y1", "dy0", "dy1")]
        arrows.setdefault(_number(row["t"]), []).append(arrow)
    return {
        "t": [_number(row["t"]) for row in chosen[0]],
        "labels": [int(rows[0]["label"]) for rows in chosen],
        "y": [[_number(row[k]) for row in rows for k in ("y0", "y1")] for rows in chosen],
        "arrows": [{"t": t, "at": found} for t, found in arrows.items()],
    }


def _classes(run: FoundRun) -> list[Data]:
    return [
        {
            "label": row["label"],
            "accuracy": _number(row["accuracy"]),
            "nfe": _number(row["nfe_forward"]) if row["nfe_forward"] else None,
        }
        for row in run.rows(CLASSES.file)
    ]


def _confusion(run: FoundRun) -> Data | None:
    """The classes, and for each how many of its images are taken for each."""
    counts: dict[str, dict[str, int]] = {}
    for row in run.rows(CONFUSION.file):
        counts.setdefault(row["class"], {})[row["predicted"]] = int(row["images"])
    names = [*counts]
    rows = [[counts[name].get(other, 0) for other in names] for name in names]
    return {"names": names, "counts": rows} if names else None


def _plane(run: FoundRun) -> Data | None:
    """The grid, the probability of class 1 on it in percent, the second coordinate first; points as
    x0, x1 and label."""
    answers = run.rows(BOUNDARY.file)
    if not answers:
        return None
    x, y = (sorted({float(row[k]) for row in answers}) for k in ("x0", "x1"))
    return {
        "x": [short(value, DIGITS) for value in (x[0], x[-1])],
        "y": [short(value, DIGITS) for value in (y[0], y[-1])],
        "rows": len(y),
        "percent": [round(100 * float(row["probability"])) for row in answers],
        "points": [
            [_number(row[k]) for k in ("x0", "x1", "label")] for row in run.rows(POINTS.file)
        ],
    }


def _number(cell: str) -> float:
    return short(float(cell), DIGITS)
