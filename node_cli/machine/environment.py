"""The facts about machine and software that a result depends on."""

import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import node_cli
from node_cli.machine.device import Backend
from node_cli.machine.git import git

PACKAGES = ("torch", "torchvision", "torchdiffeq", "numpy", "scipy", "scikit-learn", "hydra-core")

DESCRIBE = ("describe", "--always", "--dirty", "--exclude=*", "--abbrev=40")


def environment(backend: Backend, packages: Mapping[str, str]) -> dict[str, Any]:
    """Return versions, commit, system, device and threads as plain values, for result.json.

    ``packages``: further ones, which parts of the run come from, and their versions.
    """
    return {
        "node_train": node_cli.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES} | {**packages},
        "system": platform.platform(),
        "device": str(backend.device),
        "device_name": (
            torch.cuda.get_device_name(backend.device)
            if backend.device.type == "cuda"
            else _processor()
        ),
        "cuda": torch.version.cuda if backend.device.type == "cuda" else None,
        "cudnn": torch.backends.cudnn.version() if backend.device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that the code runs from, with ``-dirty`` where files were changed;
    None for an installed package."""
    try:
        git("ls-files", "--error-unmatch", Path(__file__).name, folder=Path(__file__).parent)
        return git(*DESCRIBE, folder=Path(__file__).parent)
    except (OSError, subprocess.SubprocessError):
        return None
