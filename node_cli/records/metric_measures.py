"""What the files of ``eval.metrics`` have for columns."""

from node_cli.records.measure import Measure
from node_cli.records.units import FRACTION, NUMBER, TEXT

METRICS = (
    Measure("metric", TEXT, "`top_k`, or `calibration_error`"),
    Measure("value", FRACTION, "its value"),
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
