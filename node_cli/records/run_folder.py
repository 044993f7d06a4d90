"""The folder of a run: the names of its files, its lock, its configuration, status and result.

Nothing here imports torch, so that reports start at once.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from node_cli.config.limits import check_yaml
from node_cli.errors import UserError, one_line
from node_cli.records.columns import (
    BOUNDARY,
    CHANGES,
    CLASSES,
    EPOCHS,
    EVALUATIONS,
    FLOW,
    GRADIENTS,
    OBSERVED,
    PATHS,
    POINTS,
    PREDICTIONS,
    PROFILE,
    STEPS,
    SWAPS,
    TRAJECTORIES,
    VECTOR_FIELD,
)
from node_cli.records.files import (
    check_numbers,
    check_order,
    read_json,
    rows_up_to,
    short,
    write_text,
)
from node_cli.records.fingerprints import check_fingerprints

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

TYPED = "# typed: "  # how config.yaml begins

Status = Literal["running", "done", "diverged", "interrupted", "failed"]


def newest_below(path: Path) -> str:
    """Words that name the newest run in a folder of runs; empty where there is none."""
    found = [file for depth in ("*", "*/*") for file in path.glob(f"{depth}/status.json")]
    if not found:
        return ""
    newest = max(found, key=lambda file: file.stat().st_mtime).parent
    return f"; the newest run in it is {short(newest)}"


class RunFolder:
    """The folder of one run and the files in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.status = path / "status.json"
        self.result = path / "result.json"
        self.steps = path / STEPS.file
        self.epochs = path / EPOCHS.file
        self.evaluations = path / EVALUATIONS.file
        self.changes = path / CHANGES.file
        self.init_from = path / "init_from.json"
        self.gradients = path / GRADIENTS.file
        self.swaps = path / SWAPS.file
        self.predictions = path / PREDICTIONS.file
        self.profile = path / PROFILE.file
        self.paths = path / PATHS.file
        self.flow = path / FLOW.file
        self.classes = path / CLASSES.file
        self.vector_field = path / VECTOR_FIELD.file
        self.boundary = path / BOUNDARY.file
        self.points = path / POINTS.file
        self.trajectories = path / TRAJECTORIES.file
        self.observed = path / OBSERVED.file
        self.last = path / "checkpoints" / "last.pt"
        self.best = path / "checkpoints" / "best.pt"
        self.plots = path / "plots"
        self.output = path / "output.log"
        # Those that grow while a run trains.
        self.growing = (self.steps, self.epochs, self.evaluations, self.trajectories)

    def write_config(self, config: Mapping[str, Any], overrides: Sequence[str] = ()) -> None:
        """Write config.yaml, from plain values; ``overrides``: what was typed for the run, in a
        comment on the first line, for a kill before status.json is there."""
        typed = f"{TYPED}{json.dumps([*overrides])}\n" if overrides else ""
        write_text(self.config, typed + OmegaConf.to_yaml(OmegaConf.create(dict(config))))

    def read_config(self) -> dict[str, Any]:
        """Return the configuration as plain values. Raises ``UserError`` where there is none."""
        check_yaml(self.config)
        try:
            tree = OmegaConf.to_container(OmegaConf.load(self.config))
        except FileNotFoundError:
            raise UserError(
                f"{self.path}: not a run folder, it has no config.yaml{newest_below(self.path)}"
            ) from None
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
        """Write status.json.

        ``overrides``: what was typed for the run. ``reason``: why it ended as it did, if not well.
        ``exit_code``: that of its process, once it has ended.
        """
        state = {
            "status": status,
            "reason": reason,
            "exit_code": exit_code,
            "overrides": [*overrides],
            "pid": os.getpid(),
        }
        write_text(self.status, json.dumps(state, indent=2) + "\n")

    def read_status(self) -> dict[str, Any]:
        """Return the content of status.json; empty where it is missing or unreadable."""
        return read_json(self.status)

    def standing(self) -> str:
        """Return the status of the run, as a reader tells it.

        ``lost``: status.json says that it is running, but its process has ended without a word, or
        the machine has. ``unknown``: status.json is missing or unreadable.
        """
        status = self.read_status().get("status", "unknown")
        return "lost" if status == "running" and not self.is_locked() else str(status)

    def is_locked(self) -> bool:
        """Whether a process is running in this folder; True where that cannot be told."""
        if fcntl is None:
            return True
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except OSError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:  # another process has it, or this file system has no locks
            return True
        finally:
            os.close(handle)
        return False

    def read_overrides(self) -> list[str]:
        """Return what was typed for the run, as status.json says or, where that is missing,
        config.yaml; nothing where neither does."""
        said = _texts(self.read_status().get("overrides"))
        return said if said is not None else self.read_typed() or []

    def read_typed(self) -> list[str] | None:
        """Return what the first line of config.yaml says that was typed; None where it does not."""
        with suppress(OSError, ValueError), self.config.open(encoding="utf-8") as file:
            first = file.readline()
            return _texts(json.loads(first.removeprefix(TYPED))) if TYPED in first else None
        return None

    def write_init_from(self, record: Mapping[str, Any]) -> None:
        """Write init_from.json, from plain values."""
        write_text(self.init_from, json.dumps(record, indent=2) + "\n")

    def read_init_from(self) -> dict[str, Any]:
        """Return the content of init_from.json; empty where it is missing or unreadable."""
        return read_json(self.init_from)

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json, from plain values."""
        write_text(self.result, json.dumps(result, indent=2, allow_nan=False) + "\n")

    def read_result(self) -> dict[str, Any]:
        """Return the content of result.json; empty where it is missing or unreadable."""
        return read_json(self.result)

    def completed_epochs(self) -> int:
        """Return how many epochs epochs.csv holds. Raises ``UserError`` where it is damaged."""
        return len(rows_up_to(self.epochs, EPOCHS.columns, sys.maxsize))

    def check_records(
        self,
        *,
        steps: int,
        epochs: int,
        evaluated: bool,
        fingerprints: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Check that the records hold what the checkpoint of a run counts.

        ``steps``, ``epochs``: counted by the checkpoint, 0 without one. ``evaluated``: whether
        every epoch ends with an evaluation. ``fingerprints``: of ``growing``, by the checkpoint.
        Raises ``UserError`` where rows are missing or have changed, and where the checkpoint that
        recorded epochs were made with is missing.
        """
        for path, columns, counted in (
            (self.steps, STEPS.columns, steps),
            (self.epochs, EPOCHS.columns, epochs),
        ):
            rows = rows_up_to(path, columns, steps)
            if len(rows) != counted:
                raise UserError(
                    f"{path}: holds {len(rows)} of the {counted} rows before the checkpoint"
                )
            check_order(path, rows, columns[0])
            check_numbers(path, rows)
        if not rows_up_to(self.evaluations, EVALUATIONS.columns, steps) and epochs and evaluated:
            raise UserError(f"{self.evaluations}: holds none of the rows before the checkpoint")
        rows_up_to(self.trajectories, TRAJECTORIES.columns, steps)  # only of a fit
        # A checkpoint follows the row of its epoch: without any, one row at the most can stand.
        if steps == 0 and (recorded := self.completed_epochs()) > 1:
            raise UserError(f"{self.last}: missing, though {self.epochs} holds {recorded} epochs")
        check_fingerprints(self.growing, fingerprints)

    def remove_temporaries(self) -> None:
        """Delete the temporary files that a killed process has left."""
        for path in self.path.rglob(".*.tmp"):
            if path.is_file():
                path.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process. Raises ``UserError`` while another one has it."""
        if fcntl is None:
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            _lock(handle)
        except BlockingIOError:
            os.close(handle)
            raise UserError(f"{self.path}: another process is running in this folder") from None
        except OSError:
            pass  # a file system without locks
        try:
            yield
        finally:
            os.close(handle)


def _texts(value: object) -> list[str] | None:
    return [str(item) for item in value] if isinstance(value, list) else None


def _lock(handle: int) -> None:
    """Lock a file for this process. Raises BlockingIOError while another one has it for longer than
    it takes to look at it, as ``is_locked`` does."""
    assert fcntl is not None
    for attempt in range(5):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt == 4:
                raise
            time.sleep(0.05)
        else:
            return
