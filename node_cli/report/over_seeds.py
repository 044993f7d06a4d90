"""The jobs of a sweep that differ by their seed alone."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node_cli.records.run_folder import RunFolder

# What is typed, and no part of a setting.
INCIDENTAL = ("data.root", "data.download")

Row = dict[str, Any]
"""A row of summary.csv."""


@dataclass(frozen=True)
class Setting:
    """``keys``: those by which its jobs differ from others, without the ones that were not typed.
    ``rows``: its jobs, one per seed."""

    keys: Mapping[str, str]
    rows: Sequence[Row]

    @property
    def label(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.keys.items()) or "as it is"

    def runs(self, sweep: Path) -> list[RunFolder]:
        return [RunFolder(sweep / row["job"]) for row in self.rows]


def by_setting(rows: Sequence[Row], typed: Sequence[str]) -> list[Setting]:
    """``typed``: the keys that were typed for a job."""
    keys = [key for key in varied(rows, typed) if key != "seed"]
    groups: dict[tuple[tuple[str, str], ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple((key, row[key]) for key in keys if row[key] is not None)].append(row)
    return [Setting(dict(keys), jobs) for keys, jobs in groups.items()]


def varied(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    """Those that do not have the same value in every row."""
    return [key for key in keys if len({row[key] for row in rows}) > 1]
