"""The device and the precision of a run."""

import ctypes
import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from node_cli.config.schema import Config, Precision
from node_cli.errors import UserError


@dataclass(frozen=True)
class Backend:
    """A device and a precision. ``dtype`` is that of parameters, images and the ODE's state."""

    device: torch.device
    precision: Precision
    dtype: torch.dtype

    def autocast(self) -> AbstractContextManager[object]:
        """Return a context for convolutions and matrix products in bf16 where ``precision=bf16``,
        else one that does nothing."""
        enabled = self.precision == "bf16"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=enabled)

    def __str__(self) -> str:
        match self.device.type:
            case "cuda":
                name = torch.cuda.get_device_name(self.device)
            case "cpu":
                threads = torch.get_num_threads()
                name = f"{threads} thread{'s' if threads != 1 else ''}"
            case other:
                name = other
        return f"{self.device} ({name}), {self.precision}"


def choose(config: Config) -> Backend:
    """Return the backend that the configuration asks for.

    Raises ``UserError`` where this machine has no such device, and where the device does not have
    the precision or cannot run the solver.
    """
    present = _present()
    if config.device == "auto":
        capable = (name for name in present if not _refusals(name, config))
        device = torch.device(next(capable, "cpu"))
    else:
        device = torch.device(config.device)
    if device.type not in present:
        raise UserError(
            f"device={config.device}: not on this machine, which has {', '.join(present)}"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(
            f"device={config.device}: not on this machine, which has cuda:0 to cuda:{last}"
        )
    if refusals := _refusals(device.type, config):
        raise UserError(*refusals)
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    return Backend(device, config.precision, dtype)


def _present() -> list[str]:
    """The device types of this machine, in the order in which ``auto`` prefers them."""
    gpus = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [*(name for name, present in gpus.items() if present), "cpu"]


def _refusals(device_type: str, config: Config) -> list[str]:
    """A line for each part of the configuration that a type of device cannot compute."""
    lines = []
    if config.precision == "tf32" and device_type != "cuda":
        lines.append(f"precision=tf32: {device_type} has none; choose from float32, float64, bf16")
    if device_type == "mps":
        if config.precision == "float64":
            lines.append("precision=float64: mps has none; choose from float32, bf16")
        lines += [
            f"solver={s.name}: computes in float64, which mps does not have; take device=cpu"
            for s in config.solvers()
            if s.method.kind in ("explicit_adams", "implicit_adams")
        ]
    return lines


def activate(backend: Backend, *, deterministic: bool) -> None:
    """Set each of torch's global switches, since the jobs of a sweep share a process."""
    precision = "tf32" if backend.precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not deterministic
    # Needed by deterministic=true, and read once, at the first matrix product of the process.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call takes a second
        torch.use_deterministic_algorithms(deterministic)
    if backend.device.type == "cpu":
        _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next step instead of returning it to the system.

    Page faults otherwise take a tenth of the time of a convolutional model.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if mallopt := getattr(libc, "mallopt", None):
        trim_threshold, mmap_threshold = -1, -3  # as <malloc.h> of glibc numbers them
        mallopt(mmap_threshold, 32 * 2**20)  # the largest that it takes
        mallopt(trim_threshold, 2**31 - 1)
    if malloc_trim := getattr(libc, "malloc_trim", None):
        malloc_trim(0)  # what an earlier job of this process has kept
