"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

import io
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from node_cli.config.check import checked
from node_cli.errors import UserError
from node_cli.models.model import Model
from node_cli.records.progress import Progress
from node_cli.records.run_folder import RunFolder, replacing


def save(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a dict of plain Python values and tensors, readable with ``weights_only=True``."""
    content = io.BytesIO()  # writing to a file itself, torch takes a full disk for its own bug
    torch.save(checkpoint, content)
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running any code from it.

    Raises ``UserError`` where the file is missing, damaged or not one of ours, or where the
    configuration in it is not valid.
    """
    try:
        with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path) as archive:
            if (part := archive.testzip()) is not None:  # torch does not look at the checksums
                raise ValueError(f"wrong checksum of {part}")
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"checkpoint={path}: no such file") from None
    except Exception as error:  # whatever the damaged bytes lead to
        raise UserError(f"checkpoint={path}: damaged, or not a checkpoint") from error
    if not _is_ours(checkpoint):
        raise UserError(f"checkpoint={path}: not a checkpoint of node-train")
    assert isinstance(checkpoint, dict)
    try:
        checked(checkpoint["config"])
    except UserError as error:
        raise UserError(
            f"checkpoint={path}: its configuration is not valid ({error.problems[0]})"
        ) from error
    return checkpoint


def _is_ours(checkpoint: object) -> bool:
    dicts = ("model", "optimizer", "progress", "rng", "config")
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("first_steps"), list):
        return False
    if not all(isinstance(checkpoint.get(name), dict) for name in dicts):
        return False
    if not isinstance(checkpoint.get("threads", 1), int):
        return False
    try:
        Progress.from_state_dict(checkpoint["progress"])
    except (KeyError, TypeError, ValueError):
        return False
    return True


def find(location: str) -> Path:
    """The file that ``checkpoint=`` names: itself, or a run folder's best.pt, else its last.pt."""
    path = Path(location)
    if not path.is_dir():
        return path
    folder = RunFolder(path)
    return folder.best if folder.best.exists() else folder.last


def load_for_evaluation(location: str, model: Model) -> tuple[Path, Progress]:
    """Put the weights of a checkpoint into a model; return its file and how far it was trained.

    Raises ``UserError`` as ``load`` does, and where the weights are those of another model.
    """
    path = find(location)
    checkpoint = load(path)
    try:
        model.load_state_dict(checkpoint["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        first = " ".join(str(error).splitlines()[-1].split())
        raise UserError(f"checkpoint={path}: does not fit the model ({first})") from error
    for start, size in zip(model.warm_starts(), checkpoint["first_steps"], strict=False):
        start.size = size
    return path, Progress.from_state_dict(checkpoint["progress"])
