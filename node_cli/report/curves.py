"""The curves of a page: means over the seeds of a setting, with their range, as plain data."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import mean
from typing import Any

from node_cli.records.columns import EVALUATIONS, STEPS
from node_cli.records.measures import OF_SPLITS
from node_cli.report.compared import ComparedSetting
from node_cli.report.found_runs import FoundRun

MOST_POINTS = 150  # of a curve; steps between them are averaged
DIGITS = 5  # of a number on the page

AXES = ("step", "epoch", "nfe", "seconds")
"""What a curve can be drawn over: training steps, epochs, evaluations of f in all training steps so
far, forward and backward, and seconds of training so far."""

SPLITS = ("test", "holdout", "train", "test_ema", "holdout_ema")

Data = dict[str, Any]


def curves_of(setting: ComparedSetting) -> Data:
    """The training loss and the counts of steps.csv, and the evaluations of each split.

    Each is ``{"x": {axis: [...]}, "y": {name: {"mean": [...], "low": [...], "high": [...]}}}``. An
    axis is left out where a run does not know it.
    """
    walks = [walk for run in setting.runs if not run.damage and (walk := _walk(run))]
    training = _of_steps(walks)
    evaluations = {split: _of_evaluations(walks, split) for split in SPLITS}
    return {
        "training": training,
        **{split: found for split, found in evaluations.items() if found["y"]},
    }


class _Walk:
    """The steps of a run, with what it has spent up to each."""

    def __init__(self, run: FoundRun, rows: Sequence[Mapping[str, str]]) -> None:
        self.rows = rows
        self.evaluations = run.rows(EVALUATIONS.file)
        counted = bool(rows and rows[0]["nfe_forward"])
        self.spent: dict[str, list[float]] = {axis: [0.0] for axis in AXES}
        per_epoch: dict[str, int] = defaultdict(int)
        for row in rows:
            per_epoch[row["epoch"]] += 1
        usual = max(per_epoch.values(), default=1)
        nfe = seconds = 0.0
        for i, row in enumerate(rows, start=1):
            nfe += _number(row["nfe_forward"]) + _number(row["nfe_backward"])
            seconds += _number(row["seconds"])
            for axis, value in zip(AXES, (i, i / usual, nfe, seconds), strict=True):
                self.spent[axis].append(value)
        if not counted:
            del self.spent["nfe"]


def _walk(run: FoundRun) -> _Walk | None:
    rows = run.rows(STEPS.file)
    return _Walk(run, rows) if rows else None


def _of_steps(walks: Sequence[_Walk]) -> Data:
    """Loss and counts, averaged over as many steps as leave a legible curve."""
    length = max((len(walk.rows) for walk in walks), default=0)
    size = -(-length // MOST_POINTS) or 1
    starts = range(0, length, size)
    axes = _common([walk.spent for walk in walks])
    x = {
        axis: [
            mean(w.spent[axis][min(at + size, len(w.rows))] for w in walks if len(w.rows) > at)
            for at in starts
        ]
        for axis in axes
    }
    y = {}
    for name in ("loss", "nfe_forward", "nfe_backward"):
        points = [
            [
                value
                for walk in walks
                if (value := _mean(row[name] for row in walk.rows[at : at + size])) is not None
            ]
            for at in starts
        ]
        if any(points) and any(any(values) for values in points):
            y[name] = _spread(points)
    return {"x": _rounded(x), "y": y}


def _of_evaluations(walks: Sequence[_Walk], split: str) -> Data:
    """Accuracy, loss and metrics of a split at the steps at which it was evaluated."""
    found: dict[int, list[tuple[_Walk, Mapping[str, str]]]] = defaultdict(list)
    for walk in walks:
        for row in walk.evaluations:
            if row["split"] == split and int(row["step"]) <= len(walk.rows):
                found[int(row["step"])].append((walk, row))
    steps = sorted(found)
    if len(steps) > MOST_POINTS:
        each = -(-len(steps) // MOST_POINTS)
        steps = steps[::-1][::each][::-1]
    axes = _common([walk.spent for walk in walks])
    x = {a: [mean(walk.spent[a][step] for walk, _ in found[step]) for step in steps] for a in axes}
    y = {}
    for name in OF_SPLITS:
        cells = [[row.get(name) for _, row in found[step]] for step in steps]
        points = [[float(cell) for cell in of_step if cell] for of_step in cells]
        if any(points):
            y[name] = _spread(points)
    return {"x": _rounded(x), "y": y}


def _number(cell: str) -> float:
    return float(cell) if cell else 0.0


def _mean(cells: Iterable[str]) -> float | None:
    values = [float(cell) for cell in cells if cell]
    return mean(values) if values else None


def _common(spent: Sequence[Mapping[str, object]]) -> list[str]:
    return [axis for axis in AXES if spent and all(axis in one for one in spent)]


def _spread(points: Sequence[Sequence[float]]) -> dict[str, list[float | None]]:
    """Mean, smallest and largest at each place; the last two are left out for a single seed."""
    spread: dict[str, list[float | None]] = {
        "mean": [short(mean(values)) if values else None for values in points]
    }
    if any(len(values) > 1 for values in points):
        spread["low"] = [short(min(values)) if values else None for values in points]
        spread["high"] = [short(max(values)) if values else None for values in points]
    return spread


def _rounded(x: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    return {axis: [short(value, 7) for value in values] for axis, values in x.items()}


def short(value: float, digits: int = DIGITS) -> float:
    """Return a number with as many digits as a plot shows; a whole one without a decimal point."""
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
