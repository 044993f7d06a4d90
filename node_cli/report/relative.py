"""The settings of a sweep relative to its first one: ours, beside the published ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from node_cli.records.measures import unit
from node_cli.records.summary_measures import HEADINGS
from node_cli.records.units import FRACTION
from node_cli.report.comparison import compare
from node_cli.report.markdown import table
from node_cli.report.over_seeds import Row, Setting, by_setting

Printed = Mapping[tuple[str, str], float]
"""The numbers that were published for the end of a run, by source and name."""


def relative(sweep: Path, rows: Sequence[Row], typed: Sequence[str], names: Sequence[str]) -> str:
    """Return a table in Markdown of the numbers ``names`` of each setting relative to the first
    one: differences of fractions, in percentage points, and ratios of all others.

    ``rows``: of summary.csv. ``typed``: the keys that were typed for any job. Ours are compared
    seed by seed: mean ± standard deviation. Published ones are compared with one of the same
    source. Empty for a single setting.
    """
    done = [row for row in rows if row["status"] == "done"]
    settings = by_setting(done, typed)
    if len(settings) < 2:
        return ""
    first, printed = settings[0], [_printed(setting, sweep) for setting in settings]
    columns = {"setting": [setting.label for setting in settings]}
    for name in names:
        published = [_published(name, numbers, printed[0]) for numbers in printed]
        heading, ours = HEADINGS.get(name, name), f"ours ({name})"
        if any(published):
            columns[f"{heading}: published"] = published
        else:
            ours = f"{heading}: ours"
        columns[ours] = [_ours(name, setting, first) for setting in settings]
    header = [name.partition(" (")[0] for name in columns]
    return table(header, list(zip(*columns.values(), strict=True)))


def _ours(name: str, setting: Setting, first: Setting) -> str:
    """The number relative to that of the first setting with the same seed."""
    of_first = {row.get("seed"): row.get(name) for row in first.rows}
    pairs = [(row.get(name), of_first.get(row.get("seed"))) for row in setting.rows]
    values = [_compared(name, a, b) for a, b in pairs if a is not None and b is not None]
    if not values:
        return ""
    spread = f" ± {_text(name, stdev(values)).lstrip('+')}" if len(values) > 1 else ""
    return _text(name, mean(values)) + spread


def _published(name: str, printed: Printed, first: Printed) -> str:
    """The published number relative to that of the first setting of the same source."""
    for source, of_name in printed:
        if of_name == name and (source, name) in first:
            return _text(name, _compared(name, printed[source, name], first[source, name]))
    return ""


def _compared(name: str, value: float, first: float) -> float:
    return value - first if unit(name) is FRACTION else value / first


def _text(name: str, value: float) -> str:
    return unit(name).difference_in_report(value) if unit(name) is FRACTION else f"{value:.3f}"


def _printed(setting: Setting, sweep: Path) -> Printed:
    return {
        (comparison.source, entry.name): entry.published
        for comparison in compare(setting.runs(sweep))
        if comparison.key is None
        for _, entries in comparison.rows
        for entry in entries
        if entry.published is not None
    }
