"""The numbers of a page that its script compares and draws, as plain data."""

from collections.abc import Mapping, Sequence
from typing import Any

from node_cli.records.files import read_csv
from node_cli.records.measures import unit
from node_cli.records.summary_measures import HEADINGS, SUMMARY_LOSSES
from node_cli.records.units import FRACTION
from node_cli.report.compared import ComparedSetting, Comparison, Numbers, T
from node_cli.report.curves import curves_of
from node_cli.report.found_runs import FoundRun
from node_cli.report.inside import inside_of
from node_cli.report.summary import measured

SHOWN = 8  # settings in the plots until others are chosen

# The curves: record, number, title, whether the axis is logarithmic.
CURVES = (
    ("training", "loss", "Loss of the training batches", True),
    ("test", "accuracy", "Accuracy on the test split", False),
    ("holdout", "accuracy", "Accuracy on the holdout", False),
    ("train", "accuracy", "Accuracy on training images", False),
    ("test", "loss", "Loss on the test split", True),
    ("holdout", "loss", "Loss on the holdout", True),
    ("test_ema", "accuracy", "Accuracy of the average of the weights on the test split", False),
    ("holdout_ema", "accuracy", "Accuracy of the average of the weights on the holdout", False),
    ("test", "top_k", "Top-k accuracy on the test split", False),
    ("holdout", "top_k", "Top-k accuracy on the holdout", False),
    ("test", "calibration_error", "Calibration error on the test split", False),
    ("holdout", "calibration_error", "Calibration error on the holdout", False),
    ("training", "nfe_forward", "Growth of NFE: evaluations of f per batch, forward", False),
    ("training", "nfe_backward", "Evaluations of f per batch, backward", False),
)

TOLERANCE = "tolerance"

# What the final accuracy, or loss, is plotted against: number, words, whether logarithmic.
AGAINST = (
    ("nfe_forward_run", "evaluations of f per batch, forward, mean over the run", False),
    ("seconds", "seconds of training", True),
    (TOLERANCE, "tolerance of the solver", True),
    ("parameters", "parameters", True),
)


FINAL = ("test_accuracy", "holdout_accuracy", "train_accuracy", *SUMMARY_LOSSES[::-1])


def numbers_of(run: FoundRun) -> Numbers:
    """What a run measured: the numbers of a summary, parameters and memory."""
    found = dict(measured(run.folder))
    if isinstance(parameters := run.result.get("parameters"), int):
        found["parameters"] = parameters
    memory = [cell for row in read_csv(run.folder.epochs) if (cell := row["peak_memory_mib"])]
    if memory:
        found["peak_memory_mib"] = max(map(float, memory))
    return found


def data_of(comparison: Comparison, names: Sequence[str]) -> dict[str, Any]:
    """Return what the script of the page needs, to be written as JSON. ``names``: of the numbers
    that are shown."""
    settings = [_setting(setting) for setting in comparison.settings]
    final = [name for name in FINAL if name in names][:1]
    curves = [
        {
            "record": record,
            "name": name,
            "title": title,
            "log": log,
            "percent": unit(name) is FRACTION,
        }
        for record, name, title, log in CURVES
        if any(_has_curve(setting, record, name) for setting in settings)
    ]
    trades = [
        {
            "title": f"{HEADINGS[y]} against {words.partition(',')[0]}",
            "x": x,
            "y": y,
            "xLabel": words,
            "yLabel": HEADINGS[y],
            "log": log,
        }
        for y in final
        for x, words, log in AGAINST
        if len({s["numbers"][x]["mean"] for s in settings if x in s["numbers"]}) > 1
    ]
    return {
        "settings": settings,
        "metrics": {n: {"heading": HEADINGS[n], "percent": unit(n) is FRACTION} for n in HEADINGS},
        "curves": curves,
        "trades": trades,
        "t": T,
        "shown": SHOWN,
    }


def measured_in(settings: Sequence[ComparedSetting]) -> list[str]:
    """The numbers that a table of settings shows; losses only where there is no accuracy."""
    names = [name for name in HEADINGS if name != "eval_seconds" and _is_measured(name, settings)]
    if any(unit(name) is FRACTION for name in names):
        return [name for name in names if name not in SUMMARY_LOSSES]
    return names


def _is_measured(name: str, settings: Sequence[ComparedSetting]) -> bool:
    """Whether a number is there, and not 0 in every setting, as what a method does not count is."""
    return any(found.mean for setting in settings if (found := setting.estimate(name)))


def _has_curve(setting: Mapping[str, Any], record: str, name: str) -> bool:
    found = setting["curves"].get(record, {"y": {}})["y"].get(name)
    return found is not None and any(found["mean"])


def _setting(setting: ComparedSetting) -> dict[str, Any]:
    numbers = {
        name: {"mean": found.mean, "std": found.std}
        for name in HEADINGS
        if (found := setting.estimate(name))
    }
    run = setting.runs[0]
    for key in ("solver.rtol", "solver.tol"):
        try:
            numbers[TOLERANCE] = {"mean": float(run.value(key)), "std": None}
        except ValueError:  # another kind of solver, or none
            continue
        break
    return {
        "label": setting.label,
        "numbers": numbers,
        "values": {name: setting.by_seed(name) for name in HEADINGS if setting.estimate(name)},
        "curves": curves_of(setting),
        **inside_of(setting),
    }
