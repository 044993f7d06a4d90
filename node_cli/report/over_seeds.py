"""The jobs of a sweep that differ by their seed alone."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node_cli.records.run_folder import RunFolder

# Keys that say nothing about what was run.
INCIDENTAL = ("data.root", "data.download")

Row = dict[str, Any]
"""A row of summary.csv."""


@dataclass(frozen=True)
class Setting:
    """The jobs of a sweep that differ by their seed alone.

    ``keys``: the typed keys that differ between settings, with their values. ``rows``: the rows of
    summary.csv, one for each seed.
    """

    keys: Mapping[str, str]
    rows: Sequence[Row]

    @property
    def label(self) -> str:
        """The keys and values in words."""
        return " ".join(f"{key}={value}" for key, value in self.keys.items()) or "defaults"

    def runs(self, sweep: Path) -> list[RunFolder]:
        """Return the run folders of the jobs, in the folder of their sweep."""
        return [RunFolder(sweep / row["job"]) for row in self.rows]


def by_setting(rows: Sequence[Row], typed: Sequence[str]) -> list[Setting]:
    """Group the jobs of a sweep by what was typed, the seed aside.

    ``rows``: of summary.csv. ``typed``: the keys that were typed for any job.
    """
    keys = [key for key in varied(rows, typed) if key != "seed"]
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple((key, row[key]) for key in keys if row[key] is not None)].append(row)
    return [Setting(dict(keys), jobs) for keys, jobs in groups.items()]


def varied(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """Return the keys that do not have the same value in every row."""
    return [key for key in keys if len({row[key] for row in rows}) > 1]
