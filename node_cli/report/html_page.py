"""report.html: runs, sweeps and tables compared on one page, which needs nothing beside itself.

Text of the runs is escaped; the numbers that the plots need lie in the page as JSON, which the
script reads. The plots are drawn by uPlot (MIT licence), which is in the folder ``page``.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from node_cli.records.columns import GRADIENTS
from node_cli.records.files import write_text
from node_cli.report.compared import compare_settings
from node_cli.report.comparison import compare
from node_cli.report.comparison_text import texts
from node_cli.report.found_runs import FoundRun
from node_cli.report.html import Html, element, joined
from node_cli.report.page_data import data_of, measured_in, numbers_of
from node_cli.report.page_tables import (
    configuration_table,
    gradients_table,
    published_table,
    runs_table,
    settings_table,
)
from node_cli.report.results_page import NotOurs

# The script of the page, which shares its names.
SCRIPTS = ("base.js", "tables.js", "plots.js", "inside.js", "confusion.js", "start.js")

PARTS = Path(__file__).with_name("page")
WRITTEN_BY_US = '<meta name="generator" content="node-train report">'
NO_NETWORK = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
)


def write_page(path: Path, command: str, runs: Sequence[FoundRun]) -> None:
    """Write the page. ``command``: that it names as its origin.

    Raises OSError, and ``NotOurs`` where there is a file that was not written by this function.
    """
    if path.exists() and WRITTEN_BY_US not in path.read_text(encoding="utf-8", errors="replace"):
        raise NotOurs(f"{path}: not written by report")
    write_text(path, page(command, runs))


def page(command: str, runs: Sequence[FoundRun]) -> str:
    """Return the page, a function of the runs' files alone."""
    legible = [run for run in runs if not run.damage]
    of_gradients = [(run, rows) for run in legible if (rows := run.rows(GRADIENTS.file))]
    compared = [run for run in legible if run.value("task") in COMPARED]
    comparison = compare_settings(compared, numbers_of)
    settings = comparison.settings
    labels = {run.name: setting.label for setting in settings for run in setting.runs}
    numbers = {run.name: numbers_of(run) for run in legible}
    names = measured_in(settings)
    data = data_of(comparison, names)
    counts = f"{_counted(len(runs), 'run')}, {_counted(len(settings), 'setting')}"
    unfinished = sum(run.status != "done" for run in runs)
    counts += f"; {unfinished} not done" if unfinished else ""
    sections = [
        *(
            [_section("Settings", ABOUT_SETTINGS, settings_table(comparison, names))]
            if settings
            else []
        ),
        *_plots(data),
        *_gradients(of_gradients),
        *_published(compared),
        *(
            [_section("Configuration", DIFFERENCES, configuration_table(comparison))]
            if comparison.differing
            else []
        ),
        _section("Runs", "", runs_table(runs, labels, numbers)),
    ]
    body = [
        element("h1", "Runs compared"),
        element("p", f"{counts}. Written by ", element("code", command), "."),
        _controls(),
        *sections,
    ]
    return _document(joined(body), data)


ABOUT_SETTINGS = (
    "Runs that differ by their seed alone are one row. Numbers are those of finished runs: "
    "accuracies (acc), losses and NFE, the evaluations of f per batch, of the last epoch; seconds, "
    "memory and what says run of the whole run. A difference is the mean over equal seeds of this "
    "row less the baseline, with its 95 % confidence interval, in percentage points for "
    "accuracies; it is marked where the interval leaves out 0. Click a heading to sort; what is "
    "ticked is in the plots."
)

COMPARED = ("train", "eval")  # tasks that end in an accuracy or a loss

DIFFERENCES = (
    "Every key that is not the same in all settings; marked where it is not that of the baseline. "
    "An empty cell: a run of an older version, or of a choice without this key, does not know it."
)


def _controls() -> Html:
    spread = [
        element("option", "standard deviation", value="std"),
        element("option", "95 % confidence interval", value="interval"),
        element("option", "difference to the baseline", value="difference"),
    ]
    return element(
        "div",
        element("label", "filter", element("input", id="filter", type="search")),
        element("label", "show", element("select", *spread, id="spread")),
        element("label", "baseline", element("select", id="baseline")),
        class_="controls",
    )


def _plots(data: Mapping[str, Any]) -> list[Html]:
    """The places that the script draws into: those for which there is anything."""
    settings = data["settings"]
    sections = [element("div", id="legend", class_="legend")]
    if data["curves"]:
        axes = [a for a in AXES_IN_WORDS if any(_has_axis(s, a) for s in settings)]
        choices = [
            element(
                "label",
                element("input", type="radio", name="axis", value=axis, checked=axis == "step"),
                AXES_IN_WORDS[axis],
            )
            for axis in axes
        ]
        inside = [
            element("fieldset", "over", *choices),
            element("div", id="curves", class_="plots"),
        ]
        sections.append(_section("Training", CURVES_IN_WORDS, *inside))
    if data["trades"]:
        words = "One point for each setting; bars show the standard deviation over its seeds."
        sections.append(
            _section("Accuracy against cost", words, element("div", id="trades", class_="plots"))
        )
    if any("peak_memory_mib" in setting["numbers"] for setting in settings):
        words = "The most that a run held: on CUDA allocated memory, else that of the process."
        sections.append(_section("Memory", words, element("div", id="memory", class_="bars")))
    for key, (title, words, places) in INSIDE.items():
        if any(setting[key] for setting in settings):
            choice = element("label", "setting ", element("select", id=f"{key}-of"))
            sections.append(_section(title, words, choice, *places))
    return sections


AXES_IN_WORDS = {
    "step": "steps",
    "epoch": "epochs",
    "nfe": "evaluations of f",
    "seconds": "seconds",
}

# What is shown of the inside of one setting: title, words, and where it is drawn.
INSIDE: dict[str, tuple[str, str, Sequence[Html]]] = {
    "plane": (
        "The plane",
        "The answer of the model at every point, blue for class 0 and red for class 1, and test "
        "points.",
        [element("canvas", id="plane")],
    ),
    "flow": (
        "States over time",
        "Test images, in the colour of their class, on their way through the ODE: the state itself "
        "where it has two dimensions, with the arrows of f, else its first two principal "
        "components.",
        [
            element(
                "div",
                element("button", "pause", type="button", id="play"),
                element("input", type="range", id="time", min=0, max=1000, value=0),
                element("output", id="now"),
                class_="player",
            ),
            element("div", id="kinds", class_="legend"),
            element("canvas", id="flow"),
        ],
    ),
    "classes": (
        "Classes",
        "Accuracy of each class of the test split, and evaluations of f for a batch of it alone.",
        [element("div", id="classes", class_="bars wide")],
    ),
    "confusion": (
        "Confusion matrix",
        "Images of the test split: the class that they have, downwards, and the class that they "
        "are taken for, across; the colour is the part of the images of a class. Of one seed.",
        [element("div", id="confusion"), element("output", id="confused")],
    ),
    "paths": (
        "Paths inside the ODE",
        "Coordinates of y(t) inside the ODE, a line for the first test image of each class.",
        [
            element("div", id="labels", class_="legend"),
            element("div", id="paths", class_="plots small"),
        ],
    ),
}

CURVES_IN_WORDS = (
    "Means over the seeds, with their range. Drag to zoom in, double-click to zoom out."
)


def _has_axis(setting: Mapping[str, Any], axis: str) -> bool:
    return any(axis in record["x"] for record in setting["curves"].values())


def _gradients(runs: Sequence[tuple[FoundRun, Sequence[Mapping[str, str]]]]) -> list[Html]:
    tables = [gradients_table(run.name, rows) for run, rows in runs]
    words = "Error against the reference, evaluations, memory and time of each gradient method."
    return [_section("Gradient methods", words, *tables)] if tables else []


def _published(runs: Sequence[FoundRun]) -> list[Html]:
    found = texts(compare([run.folder for run in runs]))
    inside = [joined([element("h3", text.title), published_table(text)]) for text in found]
    words = (
        "Published numbers beside ours, the mean ± standard deviation over our seeds. A difference "
        "is ours less the published number, in percentage points for accuracies."
    )
    return [_section("Published numbers", words, *inside)] if inside else []


def _section(title: str, words: str, *content: Html) -> Html:
    about = [element("p", words)] if words else []
    return element("section", element("h2", title), *about, *content)


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _document(body: Html, data: Mapping[str, Any]) -> str:
    part = {p.name: p.read_text(encoding="utf-8") for p in PARTS.iterdir() if p.is_file()}
    values = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character in "<>&":  # so that no text of a run ends the element
        values = values.replace(character, f"\\u{ord(character):04x}")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{WRITTEN_BY_US}
<meta http-equiv="Content-Security-Policy" content="{NO_NETWORK}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Runs compared</title>
<style>{part["uPlot.min.css"]}
{part["page.css"]}</style>
</head>
<body data-spread="std">
{body}
<script type="application/json" id="data">{values}</script>
<script>{part["uPlot.iife.min.js"]}</script>
<script>{"".join(part[name] for name in SCRIPTS)}</script>
</body>
</html>
"""
