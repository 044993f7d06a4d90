"""Peak memory of a run, and of a single computation."""

import gc
import re
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def reset_peak(device: torch.device) -> None:
    """Forget the peak so far: of a CUDA device; of the process, under Linux alone."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mib(device: torch.device) -> float | None:
    """Return the peak since ``reset_peak``, in MiB; None where the system does not tell.

    CUDA: memory allocated on the device. Else: resident memory of the process, since its start
    where ``reset_peak`` has no effect.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if (peak := _most_resident_kib()) is not None:
        return peak / 2**10
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 2**20 if sys.platform == "darwin" else most / 2**10


def _most_resident_kib() -> int | None:
    """As Linux tells it. Its ``ru_maxrss`` begins with what the process that started this one had,
    a notebook, say."""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text("ascii", "replace")
        if found := re.search(r"VmHWM:\s*(\d+)", status):
            return int(found[1])
    return None


def release() -> None:
    """Give back what an earlier job of this process has used of CUDA devices and keeps."""
    if torch.cuda.is_initialized():
        gc.unfreeze()  # what ``garbage.settle`` has frozen
        gc.collect()
        torch.cuda.empty_cache()


def extra_mib(compute: Callable[[], object], device: torch.device) -> float:
    """Return the peak memory of ``compute()`` beyond what was allocated before, in MiB.

    CUDA: as allocated, the work space of kernels included. Else: the bytes of the tensors alive at
    the same time, without the work space of kernels. Cost: one call, which without CUDA takes
    several times as long as usual.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        compute()
        peak: int = torch.cuda.max_memory_allocated(device)
        return (peak - before) / 2**20
    live = _LiveTensors()
    with live:
        compute()
    return live.peak / 2**20


class Peaks:
    """The peak memory between one look and the next, in MiB beyond what was held when this began.

    Within its context. CUDA and CPU: as ``extra_mib``. On other devices it is not known, None.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.live = _LiveTensors() if device.type == "cpu" else None
        self.before = 0

    def __enter__(self) -> "Peaks":
        if self.live:
            self.live.__enter__()  # type: ignore[no-untyped-call]
        elif self.device.type == "cuda":
            self.before = torch.cuda.memory_allocated(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        return self

    def __exit__(self, *error: Any) -> None:
        if self.live:
            self.live.__exit__(*error)  # type: ignore[no-untyped-call]

    def take(self) -> float | None:
        """Return the peak since the last call."""
        if self.live:
            peak, self.live.peak = self.live.peak, self.live.now
            return peak / 2**20
        if self.device.type != "cuda":
            return None
        found: int = torch.cuda.max_memory_allocated(self.device) - self.before
        torch.cuda.reset_peak_memory_stats(self.device)
        return found / 2**20


class _LiveTensors(TorchDispatchMode):
    """Counts the bytes of the storages that operators allocate, each until it is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.counted: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = {id(storage) for storage in _storages((args, kwargs))}
        for storage in _storages(result):
            if id(storage) not in given | self.counted:  # else a view, or changed in place
                self._count(storage)
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        self.counted.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)

        def free() -> None:
            self.counted.discard(key)
            self.now -= size

        weakref.finalize(storage, free).atexit = False


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [x.untyped_storage() for x in tree_leaves(tree) if isinstance(x, Tensor)]
