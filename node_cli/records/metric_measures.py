"""Columns of ``eval.metrics``: of evaluations.csv, and of the files of the test split."""

from node_cli.records.measure import Measure
from node_cli.records.units import FRACTION, NUMBER, TEXT

OF_EVALUATIONS = (
    Measure("top_k", FRACTION, "images whose class is among the `eval.top_k` largest scores"),
    Measure(
        "calibration_error",
        FRACTION,
        "expected difference of the largest probability from the accuracy, 15 bins",
    ),
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
