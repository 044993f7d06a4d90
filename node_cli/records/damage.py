"""Damage of a run's records: what a crash, a full disk or an editor has done to them.

Reports look here first, so that one damaged job costs its row and no more. Nothing here imports
torch, so that reports start at once.
"""

from collections.abc import Iterator, Mapping

from node_cli.errors import UserError
from node_cli.records.columns import EPOCHS, EVALUATIONS, STEPS
from node_cli.records.files import check_numbers, is_number, read_csv
from node_cli.records.measures import ADDED
from node_cli.records.run_folder import RunFolder
from node_cli.records.summary_measures import SUMMARY_SECONDS


def damage(folder: RunFolder) -> str | None:
    """Return a line that says what is damaged of a run's records; None where nothing is."""
    try:
        for check in (_check_status, _check_result, _check_tables):
            check(folder)
    except UserError as error:
        return error.problems[0]
    return None


def _check_status(folder: RunFolder) -> None:
    status = folder.read_status()
    if not status and folder.status.exists():
        raise UserError(f"{folder.status}: damaged")
    if folder.config.exists() or status.get("status") == "done":
        folder.read_config()


def _check_result(folder: RunFolder) -> None:
    result = folder.read_result()
    if not result and folder.result.exists():
        raise UserError(f"{folder.result}: damaged")
    metrics = result.get("metrics", {})
    if not isinstance(metrics, dict):
        raise UserError(f"{folder.result}: metrics: must be an object")
    for name, value in (*_numbers(result), *metrics.items()):
        if value is not None and not is_number(value):
            raise UserError(f"{folder.result}: {name}: {str(value)[:40]}, must be a number")


def _numbers(result: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    return ((name, result.get(name)) for name in (*SUMMARY_SECONDS, "parameters"))


def _check_tables(folder: RunFolder) -> None:
    for record in (STEPS, EPOCHS, EVALUATIONS):
        path = folder.path / record.file
        rows = read_csv(path)
        check_numbers(path, rows)
        for row in rows:
            if missing := sorted(set(record.columns) - set(row) - set(ADDED)):
                raise UserError(f"{path}: no column {missing[0]}")
            if not row["step"].isdecimal():
                raise UserError(f"{path}: step {row['step'][:40]!r}, must be a whole number")
