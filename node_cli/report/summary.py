"""The summary of a sweep: one row per job, from its records."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from node_cli.report.plots import plot_sweep
from node_cli.run.records import RunFolder, read_csv, write_text

LOSSES = ("train_loss", "test_loss")
METRICS = (
    *LOSSES,
    "train_accuracy",
    "train_eval_accuracy",
    "holdout_accuracy",
    "test_accuracy",
    "nfe_forward_mean",
    "nfe_backward_mean",
    "nfe_eval_mean",
)

SECONDS = ("seconds", "eval_seconds")

Row = dict[str, Any]


def summarise(sweep: Path) -> list[Row]:
    """Write summary.csv, summary.md and plots into a sweep's folder; return the rows.

    A row holds ``job``, one column per key that was typed, the metrics (None where the job has
    none), ``seconds`` of training, ``eval_seconds`` and ``status``. Jobs that have not started have
    no row.
    """
    paths = (file.parent.relative_to(sweep) for file in sweep.rglob("status.json"))
    names = sorted(map(str, paths), key=lambda name: (len(name), name))  # 2 before 10
    folders = [RunFolder(sweep / name) for name in names]
    jobs = [_row(folder) for folder in folders]
    typed = list(dict.fromkeys(key for overrides, _ in jobs for key in overrides))
    rows = [
        {"job": name, **{key: overrides.get(key) for key in typed}, **measured}
        for name, (overrides, measured) in zip(names, jobs, strict=True)
    ]
    write_text(sweep / "summary.csv", _csv(rows))
    write_text(sweep / "summary.md", f"# Sweep {sweep.name}\n\n{as_text(rows)}")
    varied = _varied(rows, typed)
    jobs_to_plot = [
        (_label(row, varied), folder)
        for row, folder in zip(rows, folders, strict=True)
        if row["status"] != "damaged"
    ]
    plot_sweep(sweep, jobs_to_plot)
    return rows


def as_text(rows: Sequence[Row]) -> str:
    """The table of jobs; where seeds were swept, also one of mean and standard deviation."""
    if not rows:
        return "No job has started.\n"
    numbers = (*METRICS, *SECONDS)
    typed = [key for key in rows[0] if key not in ("job", *numbers, "status")]
    varied = _varied(rows, typed)
    keys = varied or typed
    metrics = [name for name in numbers if any(row[name] is not None for row in rows)]
    if any(name.endswith("accuracy") for name in metrics):
        metrics = [name for name in metrics if name not in LOSSES]
    text = _table(
        ["job", *keys, *metrics, "status"],
        [
            [
                row["job"],
                *(row[key] for key in keys),
                *(_cell(m, row[m]) for m in metrics),
                row["status"],
            ]
            for row in rows
        ],
    )
    if "seed" not in varied or not any(row["status"] == "done" for row in rows):
        return text
    others = [key for key in keys if key != "seed"]
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        if row["status"] == "done":
            groups[tuple(row[key] for key in others)].append(row)
    spread = [
        [*values, str(len(group)), *(_spread(m, [row[m] for row in group]) for m in metrics)]
        for values, group in groups.items()
    ]
    return f"{text}\nMean and standard deviation over seeds:\n\n" + _table(
        [*others, "seeds", *metrics], spread
    )


def _row(folder: RunFolder) -> tuple[dict[str, str], Row]:
    """What was typed for a job, and what was measured."""
    overrides = dict(o.partition("=")[::2] for o in folder.read_overrides())
    measured: Row = dict.fromkeys((*METRICS, *SECONDS))
    try:
        measured |= _measured(folder)
        status = folder.read_status().get("status", "unknown")
    except (TypeError, ValueError):  # costs this row alone
        status = "damaged"
    return overrides, {**measured, "status": status}


def _measured(folder: RunFolder) -> dict[str, float]:
    """Numbers of the result, or, before there is one, of the last epoch."""
    result = folder.read_result()
    epochs = read_csv(folder.epochs)
    if epochs and not {"epoch", *METRICS} <= set(epochs[0]):
        raise ValueError(f"{folder.epochs}: columns are missing")
    recorded = [{name: float(cell) for name, cell in row.items() if cell} for row in epochs]
    metrics = result.get("metrics", recorded[-1] if recorded else {})
    if not isinstance(metrics, dict):
        raise ValueError(f"{folder.result}: no metrics")
    found = {name: metrics.get(name) for name in METRICS}
    found |= {name: result.get(name) for name in SECONDS}
    return {name: float(value) for name, value in found.items() if value is not None}


def _varied(rows: Sequence[Row], keys: Sequence[str]) -> list[str]:
    return [key for key in keys if len({row[key] for row in rows}) > 1]


def _label(row: Row, keys: Sequence[str]) -> str:
    return " ".join(f"{key}={row[key]}" for key in keys if row[key] is not None) or row["job"]


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2%}" if name.endswith("accuracy") else f"{value:.4g}"


def _spread(name: str, values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return _cell(name, known[0] if known else None)
    return f"{_cell(name, mean(known))} ± {_cell(name, stdev(known))}"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table with aligned columns."""
    cells = [[str(name) for name in header]]
    cells += [["" if value is None else str(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines) + "\n"


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    columns = list(rows[0]) if rows else ["job", *METRICS, *SECONDS, "status"]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
