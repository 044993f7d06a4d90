"""The tables of a page: settings with what they measured, runs, and what their configurations
differ in."""

from collections.abc import Mapping, Sequence

from node_cli.records.measures import unit
from node_cli.records.summary_measures import HEADINGS
from node_cli.report.compared import ComparedSetting, Comparison, Numbers, short_key
from node_cli.report.comparison_text import ComparisonText
from node_cli.report.found_runs import FoundRun
from node_cli.report.html import Cell, Html, Row, element, joined, table

WORD = {"class_": "word"}


def settings_table(comparison: Comparison, names: Sequence[str]) -> Html:
    """A row for each setting: the keys that tell it from the others, its measured numbers as mean,
    standard deviation and confidence interval, and its command. ``names``: of the numbers."""
    keys = [short_key(key) for key in comparison.keys]
    header = ["", *(keys or ["setting"]), "seeds", *(HEADINGS[name] for name in names), "repeat"]
    rows: list[Row] = []
    for i, setting in enumerate(comparison.settings):
        first = setting.runs[0]
        values = [first.value(key) for key in comparison.keys] or [setting.label]
        cells = [Cell("")]
        cells += [Cell(value, _as_number(value), WORD) for value in values]
        seeds = len({run.seed for run, _ in setting.numbers})
        cells.append(Cell(f"{seeds}", seeds))
        cells += [_measured(setting, name) for name in names]
        cells.append(_command(first.command(setting.seeds)))
        rows.append((cells, {"data_setting": i}))
    return table(header, rows, class_="sortable", id="settings")


def _measured(setting: ComparedSetting, name: str) -> Cell:
    found = setting.estimate(name)
    if found is None:
        return Cell("")
    inside = [element("span", unit(name).in_report(found.mean))]
    if found.std is not None and found.half is not None:
        spread, half = (unit(name).in_report(value) for value in (found.std, found.half))
        inside.append(element("small", f"± {spread}", class_="std", title="standard deviation"))
        words = f"95 % confidence interval of the mean over {found.seeds} seeds"
        inside.append(element("small", f"± {half}", class_="interval", title=words))
    inside.append(element("small", class_="difference"))
    return Cell(joined(inside), found.mean, {"data_metric": name})


def runs_table(
    runs: Sequence[FoundRun], labels: Mapping[str, str], numbers: Mapping[str, Numbers]
) -> Html:
    """A row for each run. ``labels``, ``numbers``: the setting and the numbers of a run, by its
    name; damaged runs have none."""
    names = [name for name in HEADINGS if any(name in found for found in numbers.values())]
    header = ["run", "setting", "seed", "status", *(HEADINGS[name] for name in names), "repeat"]
    rows: list[Row] = []
    for run in runs:
        found = numbers.get(run.name, {})
        reason = run.damage or str(run.folder.read_status().get("reason") or "")
        status = [element("span", run.status)] + [element("small", reason)] * bool(reason)
        cells = [Cell(run.name, None, WORD), Cell(labels.get(run.name, ""), None, WORD)]
        cells.append(Cell("") if run.damage else Cell(f"{run.seed}", run.seed))
        cells.append(Cell(joined(status)))
        cells += [
            Cell(unit(name).in_report(found[name]), found[name]) if name in found else Cell("")
            for name in names
        ]
        cells.append(_command(run.command()))
        rows.append((cells, {}))
    return table(header, rows, class_="sortable", id="runs")


def configuration_table(comparison: Comparison) -> Html:
    """A row for each key that is not the same in all settings, a column for each setting."""
    settings = comparison.settings
    rows: list[Row] = []
    for key in comparison.differing:
        cells = [Cell(element("code", key), None, {"class_": "key"})]
        cells += [Cell(setting.runs[0].value(key), None, WORD) for setting in settings]
        rows.append((cells, {}))
    header = ["key", *(setting.label for setting in settings)]
    return table(header, rows, class_="sortable", id="configuration")


def gradients_table(label: str, rows: Sequence[Mapping[str, str]]) -> Html:
    """What a comparison of gradient methods measured: the columns that are not empty."""
    columns = [name for name in rows[0] if any(row.get(name) for row in rows)]
    lines: list[Row] = [
        ([_gradient(name, row.get(name, "")) for name in columns], {}) for row in rows
    ]
    found = table([name.replace("_", " ") for name in columns], lines, class_="sortable")
    return joined([element("h3", label), found])


def _gradient(name: str, cell: str) -> Cell:
    number = _as_number(cell)
    words = {"class_": "note"} if name == "note" else None
    return Cell(cell, None, words) if number is None else Cell(unit(name).in_report(number), number)


def published_table(text: ComparisonText) -> Html:
    """Published numbers beside ours, with what is said of them."""
    lines: list[Row] = [
        ([Cell(cell, None, {"class_": "number"}) for cell in row], {}) for row in text.rows
    ]
    found = table(text.header, lines)
    about = [element("code", text.runs), *(element("p", source) for source in text.sources)]
    said = [element("p", line) for line in (*text.verdicts, *text.caveats)]
    return joined([*about, found, *said])


def _command(command: str) -> Cell:
    return Cell(element("code", command), None, {"class_": "command"})


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
