"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

from pathlib import Path
from typing import Any

import torch

from node_cli.errors import UserError
from node_cli.run.records import RunFolder, replacing


def save(path: Path, checkpoint: dict[str, Any]) -> None:
    """Write a dict of plain Python values and tensors, readable with ``weights_only=True``."""
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as temporary:
        torch.save(checkpoint, temporary)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, without running any code from it.

    Raises ``UserError`` where the file is missing, damaged or not one of ours.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"checkpoint={path}: no such file") from None
    except Exception as error:  # torch.load raises whatever the damaged bytes lead it to
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"checkpoint={path}: damaged, or not a checkpoint ({reason})") from error
    if not isinstance(checkpoint, dict) or not {"model", "config", "progress"} <= set(checkpoint):
        raise UserError(f"checkpoint={path}: not a checkpoint of node-train")
    return checkpoint


def find(location: str) -> Path:
    """The file that ``checkpoint=`` names: itself, or a run folder's best.pt, else its last.pt."""
    path = Path(location).expanduser()
    if not path.is_dir():
        return path
    folder = RunFolder(path)
    return folder.best if folder.best.exists() else folder.last
