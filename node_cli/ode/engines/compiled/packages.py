"""Compiled functions as files: kept in a folder, found again by a later process.

The folder is ``node-train/compiled`` in ``XDG_CACHE_HOME`` (``~/.cache``), or what the variable
``NODE_TRAIN_CACHE`` says. It may be removed at any time.
"""

import hashlib
import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Protocol

import torch
from torch import Tensor

VARIABLE = "NODE_TRAIN_CACHE"

MOST = 100
"""The most files that are kept, of about 1 MB each; those that were not used for longest go."""

PACKAGE = Path(__file__).parents[3]


class Runner(Protocol):
    """A compiled function in the memory of this process."""

    def run(self, inputs: list[Tensor]) -> list[Tensor]: ...


def folder() -> Path:
    """Where packages are."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen)
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "node-train" / "compiled"


def load(library: Path) -> Runner:
    """The function of a shared library that torch has made. Raises RuntimeError."""
    runner: Runner = torch._C._aoti.AOTIModelContainerRunnerCpu(str(library), 1)
    return runner


def find(name: str) -> Runner | None:
    """The package of that name; None where there is none, or none that is whole."""
    path = folder() / f"{name}.so"
    with suppress(OSError, RuntimeError):
        content = path.read_bytes()
        size = hashlib.sha256().digest_size
        if hashlib.sha256(content[:-size]).digest() == content[-size:]:
            runner = load(path)
            os.utime(path)
            return runner
    return None


def keep(name: str, library: Path) -> None:
    """Keep a shared library under that name, which nobody finds before it is whole. Where it cannot
    be kept, nothing happens.

    Its end is its checksum, which a loader does not read: one that is cut off would crash it.
    """
    content = library.read_bytes()
    _write(f"{name}.so", content + hashlib.sha256(content).digest())


def answer(name: str) -> bool | None:
    """What was found out under that name, None where nothing was."""
    with suppress(OSError):
        return {"True": True, "False": False}.get((folder() / f"{name}.txt").read_text())
    return None


def keep_answer(name: str, found: bool) -> None:
    """Keep what was found out."""
    _write(f"{name}.txt", str(found).encode())


def _write(name: str, content: bytes) -> None:
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        with NamedTemporaryFile(dir=folder(), suffix=".part", delete=False) as file:
            try:
                file.write(content)
                file.close()
                Path(file.name).replace(folder() / name)
            except OSError:
                Path(file.name).unlink(missing_ok=True)
                raise
        files = sorted(folder().iterdir(), key=lambda path: path.stat().st_mtime)
        for path in files[:-MOST]:
            path.unlink(missing_ok=True)


def name_of(*parts: str) -> str:
    """The name of a package: of all that its code depends on, ``parts`` and this machine."""
    digest = hashlib.sha256()
    for part in (*parts, _code(), *_machine(), *_settings()):
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:40]


@cache
def _code() -> str:
    """A digest of this package's own code. Cost: reading it, some milliseconds."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _machine() -> tuple[str, ...]:
    flags = ""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    found = platform.system(), platform.machine(), torch.backends.cpu.get_cpu_capability()
    return (*found, flags, torch.__version__, str(torch.version.git_version))


def _settings() -> tuple[str, ...]:
    """What torch's code generator reads beside the function."""
    variables = [
        f"{name}={value}"
        for name, value in sorted(os.environ.items())
        if name.startswith(("TORCHINDUCTOR_", "AOT_INDUCTOR_")) and "CACHE" not in name
    ]
    return (
        str(torch.get_num_threads()),
        str(torch.are_deterministic_algorithms_enabled()),
        torch.get_float32_matmul_precision(),
        *variables,
    )
