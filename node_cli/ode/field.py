"""The right-hand side f of dy/dt = f(t, y): its type, its precision, its parameters and buffers."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Field = Callable[[Tensor, Tensor], Tensor]
"""f(t, y): t is 0-dim, y has any shape, and f(t, y) has the shape of y.

The native engine hands t over in the dtype of y, on its device: for a float32 state a float32 t,
which tells times apart that differ by more than 1.2e-7 of their size. torchdiffeq hands over a
float64 t.
"""


def no_autocast(device_type: str) -> AbstractContextManager[object]:
    """A context without autocast; it does nothing where autocast is off already, since entering
    one takes as long as a small layer."""
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


class Autocast:
    """Whether autocast is on where this is made, to enter it again where autograd has left it.

    ``device_type``: ``"cpu"``, ``"cuda"``, ... Cost of entering it: as long as a small layer takes,
    so that nothing is entered where it is off.
    """

    def __init__(self, device_type: str) -> None:
        self.device_type = device_type
        self.enabled = torch.is_autocast_enabled(device_type)
        self.dtype = torch.get_autocast_dtype(device_type)

    @property
    def key(self) -> object:
        """Equal for two that have the same effect: the dtype, None where autocast is off."""
        return self.dtype if self.enabled else None

    def again(self) -> AbstractContextManager[object]:
        """A context with the same autocast; it does nothing where that is off."""
        if not self.enabled:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=True)

    def around(self, f: Field) -> Field:
        """f under autocast, its result cast to the dtype of y, so that the state, the error norm
        and the time keep their precision."""

        def cast(t: Tensor, y: Tensor) -> Tensor:
            with self.again():
                return f(t, y).to(y.dtype)

        def plain(t: Tensor, y: Tensor) -> Tensor:
            dy = f(t, y)
            return dy if dy.dtype == y.dtype else dy.to(y.dtype)

        return cast if self.enabled else plain


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


class Tensors:
    """The parameters and buffers that a module has now, to put them into it again.

    For a module may be called with others than its own (torch.func.functional_call). ``trained``:
    the parameters that require grad, each once. Cost: a look at each slot, as ``parameters()`` has.
    """

    def __init__(self, module: nn.Module) -> None:
        parts = list(module.modules())
        self.slots: list[tuple[dict[str, Any], str, Tensor]] = [
            (part._parameters, name, x)
            for part in parts
            for name, x in part._parameters.items()
            if x is not None
        ]
        parameters = {id(x): x for _, _, x in self.slots if x.requires_grad}
        self.trained: list[Any] = list(parameters.values())
        self.slots += [
            (part._buffers, name, x)
            for part in parts
            if part._buffers
            for name, x in part._buffers.items()
            if x is not None
        ]

    @contextmanager
    def again(self) -> Iterator[None]:
        """The module has them inside; nothing happens where it still does."""
        others = [(s, name, s.get(name), x) for s, name, x in self.slots if s.get(name) is not x]
        for slots, name, _, x in others:
            slots[name] = x
        try:
            yield
        finally:
            for slots, name, own, _ in others:
                slots[name] = own


@contextmanager
def silent_hooks(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Inside, hooks of these tensors (``Tensor.register_hook``) are not called.

    A hook acts on the gradient of a tensor, and the products of f are only its summands.
    """
    hooked = [(x, x._backward_hooks) for x in tensors if x._backward_hooks]
    for x, _ in hooked:
        x._backward_hooks = None
    try:
        yield
    finally:
        for x, hooks in hooked:
            x._backward_hooks = hooks


@contextmanager
def untouched_buffers(module: nn.Module) -> Iterator[None]:
    """Whatever happens to the buffers inside, a BatchNorm's statistics, say, is undone."""
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)
