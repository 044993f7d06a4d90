"""Writing and reading checkpoints, which hold everything that the rest of a run depends on."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from node_cli.config.check import checked, without_training
from node_cli.errors import UserError
from node_cli.records import checkpoint_schema, sweep_folder
from node_cli.records.files import replacing
from node_cli.records.run_folder import RunFolder, newest_below


def save(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a dict of plain Python values and tensors, atomically. Raises OSError.

    ``torch.load`` reads it with ``weights_only=True``.
    """
    content = io.BytesIO()  # torch reports a full disk as an internal error
    torch.save(checkpoint, content)
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load(path: Path, key: str = "checkpoint") -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running any code from it. ``key``: which named it.

    Raises ``UserError`` where the file is missing, damaged or not one of ours, or where the
    configuration in it is not valid; the parts of a training are not looked at.
    """
    try:
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:  # torch does not check the checksums
                raise ValueError(f"wrong checksum of {part}")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{key}={path}: no such file") from None
    except Exception as error:  # whatever the damaged bytes lead to
        raise UserError(f"{key}={path}: damaged, or not a checkpoint") from error
    try:
        checkpoint_schema.check_form(checkpoint)
    except checkpoint_schema.DoesNotFit as error:
        raise UserError(
            f"{key}={path}: damaged, or not a checkpoint of node-train ({error})"
        ) from error
    assert isinstance(checkpoint, dict)
    checkpoint.setdefault("first_steps", [])  # older versions had no warm starts
    try:
        checked(without_training(checkpoint["config"]))
    except UserError as error:
        raise UserError(
            f"{key}={path}: its configuration is not valid ({error.problems[0]})"
        ) from error
    return checkpoint


def find(location: str, key: str = "checkpoint") -> Path:
    """Return the file that ``checkpoint=``, or another key, names: of a run folder best.pt, else
    last.pt."""
    path = Path(location)
    if not path.is_dir():
        return path
    if sweep_folder.is_sweep(path):
        jobs = ", ".join(sweep_folder.jobs_in(path)) or "none has started"
        raise UserError(f"{key}={path}: a sweep; name one of its runs ({jobs})")
    folder = RunFolder(path.parent if path.name == "checkpoints" else path)
    if not folder.last.parent.exists() and (newest := newest_below(folder.path)):
        raise UserError(f"{key}={path}: not a run{newest}")
    return folder.best if folder.best.exists() else folder.last
