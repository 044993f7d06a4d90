"""Floating-point operations of a computation, as torch counts them."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Flops(TorchDispatchMode):
    """Within it ``total`` counts the operations of convolutions, matrix products and attention, by
    the formulas of ``torch.utils.flop_counter``; all else is not counted.

    ``FlopCounterMode`` itself follows modules by hooks of their tensors, which
    ``torch.autograd.grad`` inside a backward pass does not allow. Cost: some microseconds for each
    operator.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: for that torch imports torch._dynamo, a second, and nothing is compiled in here."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.total += count(*args, **kwargs, out_val=result)
        return result
