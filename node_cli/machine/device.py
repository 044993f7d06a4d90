"""The device and the precision of a run."""

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from node_cli.config.schema import Config, Precision
from node_cli.errors import UserError
from node_cli.machine import cards, memory


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


def choose(config: Config, notice: Callable[[str], object] = lambda _: None) -> Backend:
    """Return the backend that the configuration asks for.

    ``notice``: is told of a device that ``auto`` passes over since it does not work. Raises
    ``UserError`` where this machine has no such device, where it does not work, and where it does
    not have the precision or cannot run the solver.
    """
    if config.device == "auto":
        device = _first_capable(config, notice)
    else:
        device = _named(config.device)
        _check_present(device, config)
        if device.type != "cpu" and (fault := _fault(device)):
            raise UserError(f"device={config.device}: {fault}; choose another, or device=cpu")
    if refusals := _refusals(device, config):
        raise UserError(*refusals)
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    return Backend(device, config.precision, dtype)


def _first_capable(config: Config, notice: Callable[[str], object]) -> torch.device:
    """The first device that works and can compute what is configured; else the CPU."""
    for device in map(_named, _present()):
        if device.type == "cpu":
            break
        if _refusals(device, config):
            continue
        if not (fault := _fault(device)):
            return device
        notice(f"device=auto: {device} {fault}; going on without")
    return torch.device("cpu")


def _named(name: str) -> torch.device:
    """The device of a name; ``cuda`` without a number is the card that is ours, if any is."""
    card = cards.ours() if name == "cuda" else None
    return torch.device(name) if card is None else torch.device(name, card)


def _check_present(device: torch.device, config: Config) -> None:
    present = _present()
    if device.type not in present:
        raise UserError(
            f"device={config.device}: not on this machine, which has {', '.join(present)}"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UserError(
            f"device={config.device}: not on this machine, which has cuda:0 to cuda:{last}"
        )


def _fault(device: torch.device) -> str | None:
    """What keeps a device from computing: full, in use by another process alone, of an architecture
    that this torch has no kernels for. None if it computes. Cost: a kernel."""
    try:
        torch.ones(2, device=device).sum().item()
    except RuntimeError as error:
        return f"does not work ({str(error).partition(chr(10))[0]})"
    return None


def _present() -> list[str]:
    """The device types of this machine, in the order in which ``auto`` prefers them."""
    gpus = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [*(name for name, present in gpus.items() if present), "cpu"]


def _refusals(device: torch.device, config: Config) -> list[str]:
    """A line for each part of the configuration that a device cannot compute."""
    lines = []
    if config.precision == "tf32" and not _has_tf32(device):
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        lines.append(f"precision=tf32: {name} has none; choose from float32, float64, bf16")
    if device.type == "mps":
        if config.precision == "float64":
            lines.append("precision=float64: mps has none; choose from float32, bf16")
        lines += [
            f"solver={s.name}: computes in float64, which mps does not have; take device=cpu"
            for s in config.solvers()
            if s.method.kind in ("explicit_adams", "implicit_adams")
        ]
    return lines


def _has_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def activate(backend: Backend, *, deterministic: bool) -> None:
    """Set each of torch's global switches, and release memory, since the jobs of a sweep share a
    process."""
    # Not by the newer ``fp32_precision``, after which reading ``allow_tf32``, as compilers do, may
    # raise.
    torch.backends.cuda.matmul.allow_tf32 = backend.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = backend.precision == "tf32"
    torch.backends.cudnn.benchmark = not deterministic
    # Needed by deterministic=true, and read once, at the first matrix product of the process.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != deterministic:  # the call takes a second
        torch.use_deterministic_algorithms(deterministic)
    # Takes time; what is read here has been written before.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    memory.release()
    if backend.device.type == "cuda":
        torch.cuda.set_device(backend.device.index or 0)  # what libraries mean by "cuda"
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
