"""Published numbers beside measured ones: the tables of the section ``published`` of a
configuration, compared with the records of its runs."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from node_cli.config.published import PLACES
from node_cli.records.columns import PUBLISHED
from node_cli.records.files import read_csv, write_csv
from node_cli.records.measures import OF_SPLITS, publishable, unit
from node_cli.records.run_folder import RunFolder
from node_cli.records.splits import evaluated
from node_cli.report.over_seeds import INCIDENTAL

UNTOLD = tuple(f"{key}=" for key in ("seed", *INCIDENTAL))


@dataclass(frozen=True)
class Entry:
    """A published number beside ours.

    ``published``: None where the table leaves it out. ``ours``: one for each seed that has got as
    far.
    """

    name: str
    published: float | None
    ours: Sequence[float]

    @property
    def difference(self) -> float | None:
        """Our mean less the published number; None without one of them, and for times, which cannot
        be compared between machines."""
        if self.published is None or not self.ours or not unit(self.name).comparable:
            return None
        return mean(self.ours) - self.published

    @property
    def inside(self) -> bool | None:
        """Whether the published number lies within mean ± standard deviation of our seeds; None for
        fewer than two."""
        if self.difference is None or len(self.ours) < 2:
            return None
        return abs(self.difference) <= stdev(self.ours) * (1 + 1e-9)  # equal but for rounding


@dataclass(frozen=True)
class Comparison:
    """A published table beside the runs of one configuration, which differ by their seed alone.

    ``runs``: what was typed for them. ``key``: epoch or step; None where the only row belongs to
    the end. ``rows``: epoch or step (0 for the end), and its entries.
    """

    title: str
    source: str
    note: str
    runs: str
    seeds: int
    key: str | None
    names: Sequence[str]
    rows: Sequence[tuple[int, Sequence[Entry]]] = field(repr=False)

    def records(self) -> list[dict[str, Any]]:
        """Return the rows of published.csv."""
        return [
            {
                "title": self.title,
                "source": self.source,
                "runs": self.runs,
                "at": f"{self.key} {at}" if self.key else "end",
                "name": e.name,
                "published": e.published,
                "seeds": len(e.ours),
                "mean": mean(e.ours) if e.ours else None,
                "std": stdev(e.ours) if len(e.ours) > 1 else None,
                "min": min(e.ours, default=None),
                "max": max(e.ours, default=None),
                "difference": e.difference,
                "inside": e.inside,
            }
            for at, entries in self.rows
            for e in entries
        ]


def unknown_columns(columns: str) -> list[str]:
    """Return the names in the columns of a published table that are not measured."""
    names = columns.split()
    key = names[0] if names[0] in PLACES else None
    return [name for name in names if name != key and name not in publishable(key)]


def compare(folders: Sequence[RunFolder]) -> list[Comparison]:
    """Return a comparison for each published table of the finished runs.

    Runs that differ by their seed alone share one. Raises ``UserError`` where a record is damaged.
    """
    groups: dict[str, list[RunFolder]] = defaultdict(list)
    for folder in folders:
        if folder.read_status().get("status") == "done":
            groups[_without_seed(folder.read_config())].append(folder)
    comparisons = []
    for alike in groups.values():
        config = alike[0].read_config()
        comparisons += [
            _compared(published, alike)
            for published in config.get("published") or []
            if _has(config, published["setting"])
        ]
    return comparisons


def _without_seed(config: Mapping[str, Any]) -> str:
    """The configuration as text, without the seed and without keys that are None: a newer version
    may have added them."""
    kept = {key: value for key, value in config.items() if key not in ("seed", "published")}
    for key, section in kept.items():
        if isinstance(section, dict):
            kept[key] = {name: value for name, value in section.items() if value is not None}
    return json.dumps(kept, sort_keys=True)


def write(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Write published.csv, with a row for each number. Raises OSError."""
    write_csv(path, PUBLISHED.columns, [record for c in comparisons for record in c.records()])


def _has(config: Mapping[str, Any], setting: Mapping[str, Any]) -> bool:
    """Whether a configuration has every value of a setting."""
    for key, value in setting.items():
        section, _, name = key.rpartition(".")
        inner = config.get(section) if section else config
        if not isinstance(inner, dict):
            return False
        found = inner.get(name)
        if isinstance(value, list) and isinstance(found, dict):  # several of a group, in any order
            found, value = sorted(found), sorted(value)
        if found != value:
            return False
    return True


def _compared(published: Mapping[str, Any], folders: Sequence[RunFolder]) -> Comparison:
    columns = published["columns"].split()
    key = columns[0] if columns[0] in PLACES else None
    measured = [_measured(folder, key) for folder in folders]
    rows = []
    for text in published["rows"]:
        cells = dict(zip(columns, text.split(), strict=True))
        at = int(cells.pop(key)) if key else 0
        entries = []
        for name, cell in cells.items():
            ours = [m[at][name] for m in measured if name in m.get(at, {})]
            entries.append(Entry(name, None if cell == "-" else float(cell), ours))
        rows.append((at, entries))
    told = [o for o in folders[0].read_overrides() if not o.startswith(UNTOLD)]
    return Comparison(
        title=published["title"],
        source=published["source"],
        note=published["note"] or "",
        runs=" ".join(told),
        seeds=len(folders),
        key=key,
        names=[name for name in columns if name != key],
        rows=rows,
    )


def _measured(folder: RunFolder, key: str | None) -> dict[int, dict[str, float]]:
    """The numbers of a run by name, at each epoch or step; without a key, at its end (0)."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    if key is None:
        result = folder.read_result()
        found[0] = {k: float(v) for k, v in result.get("metrics", {}).items() if v is not None}
        for name in ("parameters", "seconds"):  # the seconds of the whole run
            if name in result:
                found[0][name] = float(result[name])
    else:
        for row in read_csv(folder.epochs if key == "epoch" else folder.steps):
            found[int(row[key])] = {name: float(cell) for name, cell in row.items() if cell}
        for row in read_csv(folder.evaluations):
            if key == "step" or row["step"] == "0":  # the end of an epoch has its row
                names = {evaluated(row["split"], name): row.get(name) for name in OF_SPLITS}
                found[int(row[key])] |= {n: float(cell) for n, cell in names.items() if cell}
    for values in found.values():
        if "test_accuracy" in values:
            values["test_error"] = 1 - values["test_accuracy"]
    return found
