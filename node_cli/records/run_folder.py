"""A run folder and the records in it. Free of torch, so that reports read it at once."""

import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from node_cli.errors import UserError, one_line

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

Status = Literal["running", "done", "diverged", "interrupted", "failed"]

STEP_COLUMNS = (
    "step",
    "epoch",
    "loss",
    "accuracy",
    "lr",
    "grad_norm",
    "nfe_forward",
    "nfe_backward",
    "vjps_backward",
    "accepted_forward",
    "rejected_forward",
    "accepted_backward",
    "rejected_backward",
    "seconds",
)
EPOCH_COLUMNS = (
    "epoch",
    "step",
    "seconds",
    "eval_seconds",
    "images_per_s",
    "train_loss",
    "train_accuracy",
    "train_eval_accuracy",
    "holdout_loss",
    "holdout_accuracy",
    "test_loss",
    "test_accuracy",
    "nfe_forward_mean",
    "nfe_forward_max",
    "nfe_backward_mean",
    "nfe_backward_max",
    "vjps_backward_mean",
    "rejected_mean",
    "nfe_eval_mean",
    "peak_memory_mib",
)
EVALUATION_COLUMNS = ("step", "epoch", "split", "images", "loss", "accuracy", "nfe_mean")
PATH_COLUMNS = ("coordinate", "label", "t", "y")
TRAJECTORY_COLUMNS = ("step", "t", "y0", "y1")
OBSERVED_COLUMNS = ("t", "y0", "y1")
GRADIENT_COLUMNS = (
    "sensitivity",
    "norm",
    "relative_error",
    "relative_error_f",
    "cosine",
    "nfe_forward",
    "nfe_backward",
    "vjps_backward",
    "accepted_forward",
    "rejected_forward",
    "accepted_backward",
    "rejected_backward",
    "extra_memory_mib",
    "seconds",
    "note",
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name to write to; becomes ``path`` in one step once it is whole and on disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole file so that it is never seen half-written."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a whole CSV file. Cells: floats in full precision, None empty."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, none where it does not exist yet; a torn last line is left out.

    Raises ``UserError`` where it is not one of our records.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8")
        header, *lines = csv.reader(text[: text.rfind("\n") + 1].splitlines())
        return [dict(zip(header, line, strict=True)) for line in lines]
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({one_line(error)})") from error


def rows_up_to(path: Path, columns: Sequence[str], step: int) -> list[dict[str, str]]:
    """The rows of a record up to a step. Raises ``UserError`` where it is damaged."""
    rows = read_csv(path)
    try:
        for row in rows:
            if tuple(row) != tuple(columns):
                raise ValueError(f"columns {', '.join(row)}")
        return [row for row in rows if int(row["step"]) <= step]
    except ValueError as error:
        raise UserError(f"{path}: damaged ({one_line(error)})") from error


class CsvLog:
    """A CSV file that grows by whole rows, each on disk as far as the system is concerned at once.

    Cells: floats in full precision, None empty.
    """

    def __init__(self, path: Path, columns: Sequence[str], keep_to_step: int) -> None:
        """Open for appending; rows after step ``keep_to_step``, or torn, are cut first."""
        self.columns = columns
        write_csv(path, columns, rows_up_to(path, columns, keep_to_step))
        self._file = path.open("a", newline="", encoding="utf-8", buffering=1)
        self._writer = csv.writer(self._file, lineterminator="\n")

    def append(self, row: Mapping[str, Any]) -> None:
        assert set(row) == set(self.columns), set(row) ^ set(self.columns)
        self._writer.writerow([row[column] for column in self.columns])

    def sync(self) -> None:
        """Return once every row is on disk, so that a checkpoint never outruns its records."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class RunFolder:
    """The folder of one run: names and reading and writing of what lies in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.status = path / "status.json"
        self.result = path / "result.json"
        self.steps = path / "steps.csv"
        self.epochs = path / "epochs.csv"
        self.evaluations = path / "evaluations.csv"
        self.gradients = path / "gradients.csv"
        self.paths = path / "paths.csv"
        self.trajectories = path / "trajectories.csv"
        self.observed = path / "observed.csv"
        self.last = path / "checkpoints" / "last.pt"
        self.best = path / "checkpoints" / "best.pt"
        self.plots = path / "plots"

    def write_config(self, config: Mapping[str, Any]) -> None:
        write_text(self.config, OmegaConf.to_yaml(OmegaConf.create(dict(config))))

    def read_config(self) -> dict[str, Any]:
        """The resolved configuration as plain values. Raises ``UserError`` where there is none."""
        try:
            tree = OmegaConf.to_container(OmegaConf.load(self.config))
        except FileNotFoundError:
            raise UserError(f"{self.path}: not a run folder, it has no config.yaml") from None
        except Exception as error:
            raise UserError(f"{self.config}: not readable ({one_line(error)})") from error
        if not isinstance(tree, dict):
            raise UserError(f"{self.config}: not a configuration")
        return {str(key): value for key, value in tree.items()}

    def write_status(
        self,
        status: Status,
        *,
        overrides: Sequence[str],
        reason: str = "",
        exit_code: int | None = None,
    ) -> None:
        """Where the run stands; ``exit_code`` is that of its process once it has ended."""
        state = {
            "status": status,
            "reason": reason,
            "exit_code": exit_code,
            "overrides": [*overrides],
            "pid": os.getpid(),
        }
        write_text(self.status, json.dumps(state, indent=2) + "\n")

    def read_status(self) -> dict[str, Any]:
        return _read_json(self.status)

    def read_overrides(self) -> list[str]:
        """What was typed for the run, as far as status.json tells."""
        overrides = self.read_status().get("overrides")
        return [str(o) for o in overrides] if isinstance(overrides, list) else []

    def write_result(self, result: Mapping[str, Any]) -> None:
        write_text(self.result, json.dumps(result, indent=2, allow_nan=False) + "\n")

    def read_result(self) -> dict[str, Any]:
        return _read_json(self.result)

    def completed_epochs(self) -> int:
        """As recorded. Raises ``UserError`` where the record is damaged."""
        return len(rows_up_to(self.epochs, EPOCH_COLUMNS, sys.maxsize))

    def check_records(self, *, steps: int, epochs: int, evaluated: bool) -> None:
        """Raise ``UserError`` where the records lack rows that a checkpoint counts, or where there
        are records, but no longer the checkpoint that they were made with. ``evaluated``: whether
        every epoch ends with an evaluation."""
        for path, columns, counted in (
            (self.steps, STEP_COLUMNS, steps),
            (self.epochs, EPOCH_COLUMNS, epochs),
        ):
            rows = len(rows_up_to(path, columns, steps))
            if rows != counted:
                raise UserError(f"{path}: holds {rows} of the {counted} rows before the checkpoint")
        if not rows_up_to(self.evaluations, EVALUATION_COLUMNS, steps) and epochs and evaluated:
            raise UserError(f"{self.evaluations}: holds none of the rows before the checkpoint")
        rows_up_to(self.trajectories, TRAJECTORY_COLUMNS, steps)  # only of a fit
        # A checkpoint follows the row of its epoch: without any, one row at the most can stand.
        if steps == 0 and (recorded := self.completed_epochs()) > 1:
            raise UserError(f"{self.last}: missing, though {self.epochs} holds {recorded} epochs")

    def remove_temporaries(self) -> None:
        """What a killed process was about to rename."""
        for path in self.path.rglob(".*.tmp"):
            if path.is_file():
                path.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder. Raises ``UserError`` while another process does."""
        if fcntl is None:
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UserError(f"{self.path}: another process is running in this folder") from None
        except OSError:
            pass  # a file system without locks
        try:
            yield
        finally:
            os.close(handle)


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none, or none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
