"""One job per GPU, where a sweep runs several jobs at once."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from node_cli.machine.own_folder import own_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PAUSE = 0.5
"""Seconds between two looks for a free card."""


class _Process:
    """``card``: the number of the card that this process has to itself, None for none."""

    card: int | None = None


def ours() -> int | None:
    """What ``cuda`` means within ``own_card``; None elsewhere, for torch's current device."""
    return _Process.card


@contextmanager
def own_card(device: str, notice: Callable[[str], object]) -> Iterator[None]:
    """Within the context ``cuda`` is a card that no other job has which this user has started on
    this machine in a parallel sweep: the first free one of those that CUDA_VISIBLE_DEVICES leaves.
    Where all are taken, wait for one, and tell ``notice`` so.

    ``device``: what the job asks for. Nothing happens where that is a card by its number
    (``cuda:1``), which jobs may share, or no GPU. A card is taken by the lock of a file of its
    name, which the system gives back whatever ends the process; where there are no locks (Windows,
    no folder for temporary files) jobs share the first card.
    """
    folder = own_folder()
    asked = device in ("auto", "cuda") and torch.cuda.is_available()
    if not asked or fcntl is None or folder is None:
        yield
        return
    number, handle = _wait(folder, notice)
    _Process.card = number
    try:
        yield
    finally:
        _Process.card = None
        os.close(handle)


def _wait(folder: Path, notice: Callable[[str], object]) -> tuple[int, int]:
    """The number of a card that was free, and the handle of its lock."""
    told = False
    while (found := _free(folder)) is None:
        if not told:
            notice(f"waiting for a free GPU, of {torch.cuda.device_count()}")
            told = True
        time.sleep(PAUSE)
    return found


def _free(folder: Path) -> tuple[int, int] | None:
    for number in range(torch.cuda.device_count()):
        # Numbers are those of this process; a name is the same for every process.
        name = f"gpu-{torch.cuda.get_device_properties(number).uuid}.lock"
        handle = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
        else:
            return number, handle
    return None
