"""Peak memory: of a run, and of a piece of it."""

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
    """Start measuring anew, where the device or, for the process, the system can (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_mib(device: torch.device) -> float | None:
    """MiB. CUDA: most allocated since ``reset_peak``; else: most resident memory of the process
    since then, or so far; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def extra_mib(compute: Callable[[], object], device: torch.device) -> float:
    """MiB that ``compute()`` holds at its peak beyond what was held before.

    CUDA: as allocated, the kernels' work space included. Else: the bytes of the tensors alive at
    once; the work space of a kernel is not seen, and ``compute`` takes several times as long.
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


class _LiveTensors(TorchDispatchMode):
    """Counts the bytes of storages that operators make, until each is freed."""

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
