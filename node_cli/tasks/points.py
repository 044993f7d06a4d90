"""The rows of a training as points for programs that draw curves: names and values at a step."""

from collections.abc import Mapping
from typing import Any

from node_cli.learn.observer import Row
from node_cli.records.measures import EPOCH, STEP

COUNTED = (STEP.name, EPOCH.name)
"""Columns that say where a point is, and are none themselves."""

Points = Mapping[str, float]


def of_step(row: Row) -> Points:
    """``steps/loss`` and the like, of a row of steps.csv."""
    return _points("steps", row)


def of_epoch(row: Row) -> Points:
    """``epochs/test_accuracy`` and the like, of a row of epochs.csv."""
    return _points("epochs", row)


def of_evaluation(row: Row) -> Points:
    """``evaluations/test/loss`` and the like, of a row of evaluations.csv."""
    return _points(f"evaluations/{row['split']}", row)


def _points(group: str, row: Row) -> Points:
    return {
        f"{group}/{name}": value
        for name, value in row.items()
        if name not in COUNTED and _is_number(value)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
