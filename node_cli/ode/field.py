"""A module called as a function of its parameters and buffers, and buffers left alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.func import functional_call


class FunctionalCall(nn.Module):
    """``field(t, y)`` with every parameter and buffer passed in: the field has no hidden state.

    Results equal those of the module. What calls write into buffers is kept aside and committed
    once, at the end of ``solving``; outside it nothing is committed. Raises what the module raises.
    Cost: one swap of every tensor and back per call, which compiling removes.

    Every slot of every module is swapped once: torch would swap those of a module that is
    registered under two names twice, and then restore what the first swap put there (2.15).
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._copies: dict[str, Tensor] | None = None

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        parameters = dict(self._slots("_parameters"))
        buffers = self._buffer_copies() if self._copies is None else self._copies
        dy: Tensor = functional_call(self.module, parameters | buffers, (t, y), tie_weights=False)
        return dy

    @contextmanager
    def solving(self) -> Iterator[None]:
        """The calls of one solve: they share one set of buffers, committed once it has ended."""
        self._copies = self._buffer_copies()
        try:
            yield
            for name, buffer in self.module.named_buffers():
                buffer.copy_(self._copies[name])
        finally:
            self._copies = None

    def _buffer_copies(self) -> dict[str, Tensor]:
        copies: dict[Tensor, Tensor] = {}
        return {
            name: copies.setdefault(buffer, buffer.clone())
            for name, buffer in self._slots("_buffers")
        }

    def _slots(self, kind: str) -> Iterator[tuple[str, Tensor]]:
        for prefix, module in self.module.named_modules():
            for name, tensor in getattr(module, kind).items():
                if tensor is not None:
                    yield f"{prefix}.{name}" if prefix else name, tensor


@contextmanager
def untouched_buffers(module: nn.Module) -> Iterator[None]:
    """Whatever happens to the buffers inside, a BatchNorm's statistics, say, is undone."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)
