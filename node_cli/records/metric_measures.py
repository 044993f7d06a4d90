"""Columns of ``eval.metrics``: of evaluations.csv, of epochs.csv, and of the files of the test
split."""

from collections.abc import Collection

from node_cli.records.measure import Measure
from node_cli.records.splits import averaged_split, evaluated
from node_cli.records.units import FRACTION, NUMBER, TEXT

OF_EVALUATIONS = (
    Measure("top_k", FRACTION, "images whose class is among the `eval.top_k` largest scores"),
    Measure(
        "calibration_error",
        FRACTION,
        "expected difference of the largest probability from the accuracy, 15 bins",
    ),
)
NAMES = tuple(measure.name for measure in OF_EVALUATIONS)

SPLITS = ("holdout", "test", "train")


def of_epochs(metrics: Collection[str] = NAMES, *, averaged: bool = True) -> tuple[Measure, ...]:
    """Return the columns of epochs.csv for ``eval.metrics``, those of each split. ``averaged``:
    also those of an average of the weights."""
    splits = [*SPLITS, *(map(averaged_split, SPLITS) if averaged else ())]
    return tuple(
        Measure(evaluated(split, m.name), m.unit, f"`{m.name}` of the split `{split}`")
        for m in OF_EVALUATIONS
        if m.name in metrics
        for split in splits
    )


PER_CLASS = (
    Measure("class", TEXT, "the class"),
    Measure("images", NUMBER, "its images"),
    Measure("correct", NUMBER, "those classified correctly"),
    Measure("accuracy", FRACTION, "their part"),
)
CONFUSION = (
    Measure("class", TEXT, "the class of the images"),
    Measure("predicted", TEXT, "the class with the largest score"),
    Measure("images", NUMBER, "how many there are"),
)
