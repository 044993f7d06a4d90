"""The summary of a sweep: one row per job, from its records."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from node_cli.records import sweep_folder
from node_cli.records.damage import damage
from node_cli.records.files import read_csv, waiting_for, write_text
from node_cli.records.measures import unit
from node_cli.records.run_folder import RunFolder
from node_cli.records.summary_measures import (
    HEADINGS,
    SUMMARY,
    SUMMARY_COUNTS,
    SUMMARY_FURTHER,
    SUMMARY_LOSSES,
    SUMMARY_SECONDS,
)
from node_cli.records.units import FRACTION, NUMBER
from node_cli.report.markdown import number, spread, table
from node_cli.report.over_seeds import Row, by_setting, varied
from node_cli.report.sweep_plots import plot_sweep

# How a job ended, and the columns of a job that are no measured numbers.
STANDING = ("status", "reason")

OF_WHAT = (
    "Accuracies (acc), losses and NFE, the evaluations of f per batch, are those of the last "
    'epoch; seconds (s), and what says "run", are of the whole run.'
)

# New columns come last: scripts may rely on the order.
COLUMNS = (*SUMMARY, *SUMMARY_SECONDS, *STANDING, *SUMMARY_COUNTS)
KNOWN = ("job", *COLUMNS, *SUMMARY_FURTHER)


def summarise(sweep: Path) -> list[Row]:
    """Write summary.csv, summary.md and plots into a sweep's folder; return the rows.

    A row holds ``job``, one column for each key that was typed, the numbers of
    ``SUMMARY``, ``SUMMARY_SECONDS`` and, if any job has them, ``SUMMARY_FURTHER`` (None where the
    job has none), ``status``, and ``reason``, why it ended as it did. Jobs that have not started
    have no row. Raises OSError, and ``UserError`` where a record is damaged.
    """
    names = sweep_folder.jobs_in(sweep)
    folders = [RunFolder(sweep / name) for name in names]
    jobs = [_row(folder) for folder in folders]
    typed = list(dict.fromkeys(key for overrides, _ in jobs for key in overrides))
    columns = _columns(typed, [cells for _, cells in jobs])
    rows = [
        {key: {"job": name, **overrides, **cells}.get(key) for key in columns}
        for name, (overrides, cells) in zip(names, jobs, strict=True)
    ]
    write_text(sweep / "summary.csv", _csv(rows))
    write_text(sweep / "summary.md", f"# Sweep {sweep.name}\n\n{as_text(rows)}")
    legible = [row for row in rows if row["status"] != "damaged"]
    plot_sweep(sweep, by_setting(legible, typed))
    return rows


def add_row(sweep: Path, folder: RunFolder) -> None:
    """Add the row of a job that has ended, or bring it up to date, in the summary.csv of its sweep.

    Neither the records of other jobs are read nor anything is drawn, so that a job of a long sweep
    costs as much as one of a short sweep. A job that has not started gets no row. Raises OSError,
    and ``UserError`` where summary.csv is damaged.
    """
    if not folder.status.exists():
        return
    with waiting_for(sweep / sweep_folder.FILE):  # jobs may end together, in several processes
        _add_row(sweep / "summary.csv", folder)


def _add_row(path: Path, folder: RunFolder) -> None:
    name = folder.path.name
    overrides, cells = _row(folder)
    row = {"job": name, **overrides, **cells}
    header, line = _csv([row]).splitlines(keepends=True)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if text.startswith(header) and text.endswith("\n") and f"\n{name}," not in text:
        with path.open("a", encoding="utf-8", newline="") as file:
            file.write(line)
        return
    others = [other for other in read_csv(path) if other["job"] != name]
    rows = [*others, row]
    typed = list(dict.fromkeys(key for r in rows for key in typed_keys([r])))
    columns = _columns(typed, rows)
    write_text(path, _csv([{key: r.get(key) for key in columns} for r in rows]))


def _columns(typed: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The columns of summary.csv."""
    further = [name for name in SUMMARY_FURTHER if any(name in row for row in rows)]
    return ["job", *typed, *COLUMNS, *further]


def as_text(rows: Sequence[Row], width: int | None = None) -> str:
    """Return a table of jobs in Markdown; where seeds were swept, also one of means and deviations.

    ``rows``: what ``summarise`` returned. ``width``: of the terminal, where a wider table becomes
    several; None for no limit.
    """
    if not rows:
        return "No job has started.\n"
    typed = typed_keys(rows)
    keys = varied(rows, typed) or typed
    cells = [{m: number(m, row[m]) for m in _measures(rows)} for row in rows]
    metrics, constant = _told_once(cells)
    stopped = any(row["status"] == "done" and row["reason"] for row in rows)
    text = table(
        ["job", *keys, *(HEADINGS[m] for m in metrics), "status", *["stopped by"] * stopped],
        [
            [
                row["job"],
                *(row[key] for key in keys),
                *(line[m] for m in metrics),
                row["status"],
                *[row["reason"] if row["status"] == "done" else ""] * stopped,
            ]
            for row, line in zip(rows, cells, strict=True)
        ],
        width,
        fixed=1 + len(keys),
    )
    parts = [text, constant, OF_WHAT]
    if "seed" in varied(rows, typed) and any(row["status"] == "done" for row in rows):
        parts += ["Mean ± standard deviation over the seeds:", averages(rows, width)]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def averages(rows: Sequence[Row], width: int | None = None) -> str:
    """Return a table with a row for each setting: mean ± standard deviation over its finished jobs.

    ``rows``, ``width``: as for ``as_text``.
    """
    typed, measures = typed_keys(rows), _measures(rows)
    settings = by_setting(rows, typed)
    keys = list(dict.fromkeys(key for setting in settings for key in setting.keys))
    # Jobs of a table need not have the same keys: one column then says what a row is.
    is_grid = all(len(setting.keys) == len(keys) for setting in settings)
    first, cells = [], []
    for setting in settings:
        if done := [row for row in setting.rows if row["status"] == "done"]:
            what = setting.keys.values() if is_grid else [setting.label]
            first.append([*what, str(len(done))])
            cells.append({m: spread(m, [row[m] for row in done]) for m in measures})
    metrics, constant = _told_once(cells)
    fixed = [*(keys if is_grid else ["setting"]), "seeds"]
    lines = [[*a, *(line[m] for m in metrics)] for a, line in zip(first, cells, strict=True)]
    header = [*fixed, *(HEADINGS[m] for m in metrics)]
    return f"{table(header, lines, width, fixed=len(fixed))}\n{constant}".strip() + "\n"


def _told_once(cells: Sequence[Mapping[str, str]]) -> tuple[list[str], str]:
    """The numbers of a table, and a line that tells the counts that are the same in every row."""
    names = list(cells[0]) if len(cells) > 1 else []
    same = [m for m in names if unit(m) is NUMBER and len({line[m] for line in cells}) == 1]
    names = list(cells[0]) if cells else []
    told = ", ".join(f"{HEADINGS[m]} {cells[0][m]}" for m in same)
    return [m for m in names if m not in same], f"In every row: {told}." if told else ""


def typed_keys(rows: Sequence[Row]) -> list[str]:
    """The keys that were typed for a job."""
    return [key for key in (rows[0] if rows else ()) if key not in KNOWN]


def _measures(rows: Sequence[Row]) -> list[str]:
    """The numbers that any job has: losses only where no job has an accuracy, counts of the whole
    run only where they are not those of the last epoch."""
    shown = {*SUMMARY, *SUMMARY_FURTHER, *SUMMARY_SECONDS}
    names = [name for name in HEADINGS if name in shown]
    found = [name for name in names if any(row.get(name) is not None for row in rows)]
    if any(unit(name) is FRACTION for name in found):
        found = [name for name in found if name not in SUMMARY_LOSSES]
    for name in SUMMARY_COUNTS:
        last = name.replace("_run", "_mean")
        both = [row for row in rows if row[name] is not None]
        if any(number(name, row[name]) != number(last, row[last]) for row in both):
            found.append(name)
    return found


def _row(folder: RunFolder) -> tuple[dict[str, str], Row]:
    """What was typed for a job, and what was measured."""
    overrides = dict(o.partition("=")[::2] for o in folder.read_overrides())
    row: Row = dict.fromkeys(COLUMNS)
    if what := damage(folder):  # costs this row alone
        return overrides, {**row, "status": "damaged", "reason": what}
    reason = str(folder.read_status().get("reason", ""))
    standing = {"status": folder.standing(), "reason": reason}
    return overrides, {**row, **measured(folder), **standing}


def measured(folder: RunFolder) -> dict[str, float]:
    """Return the numbers of result.json or, where there is none yet, of the last epoch; and the
    counts of all steps. Raises ``UserError`` where a record is damaged."""
    result = folder.read_result()
    epochs = read_csv(folder.epochs)
    recorded = [{name: float(cell) for name, cell in row.items() if cell} for row in epochs]
    metrics = result.get("metrics", recorded[-1] if recorded else {})
    found = {name: metrics.get(name) for name in (*SUMMARY, *SUMMARY_FURTHER)}
    found |= {name: result.get(name) for name in SUMMARY_SECONDS}
    steps = read_csv(folder.steps)
    for name in SUMMARY_COUNTS:
        counts = [float(cell) for row in steps if (cell := row[name.replace("_run", "")])]
        found[name] = mean(counts) if counts else None
    return {name: float(value) for name, value in found.items() if value is not None}


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    columns = list(rows[0]) if rows else ["job", *COLUMNS]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
