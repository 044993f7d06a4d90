"""Counts what a solve costs: evaluations of f (NFE), vector-Jacobian products (VJPs), steps."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

Field = Callable[[Tensor, Tensor], Tensor]
"""The right-hand side f(t, y) of dy/dt = f(t, y): t is 0-dim, f(t, y) has the shape of y."""


@dataclass
class Steps:
    """Accepted and rejected steps of one solve; None where the solver does not report them."""

    accepted: int | None = 0
    rejected: int | None = 0

    def add(self, other: "Steps") -> None:
        """Add another solve's steps; what is unknown in either stays unknown."""
        self.accepted = _sum(self.accepted, other.accepted)
        self.rejected = _sum(self.rejected, other.rejected)


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


@dataclass
class Work:
    """The cost of one batch, forward and backward apart.

    ``nfe_forward``: evaluations of f in the forward solve, those of rejected steps and of the
    initial-step heuristic included. ``nfe_backward``: evaluations of f in the backward pass, 0 by
    definition where the gradient reuses the forward graph. ``vjps_backward``: vector-Jacobian
    products of f. ``forward`` and ``backward``: the steps of the two solves.
    """

    nfe_forward: int = 0
    nfe_backward: int = 0
    vjps_backward: int = 0
    forward: Steps = field(default_factory=Steps)
    backward: Steps = field(default_factory=Steps)

    def evaluated(self, times: int, *, backward: bool = False) -> None:
        """Count evaluations of f."""
        if backward:
            self.nfe_backward += times
        else:
            self.nfe_forward += times


def no_autocast(device_type: str) -> AbstractContextManager[object]:
    """Autocast off, if it is on: entering it takes as long as a small layer."""
    if not torch.is_autocast_enabled(device_type):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


class Autocast:
    """Remembers whether autocast is on here, to enter it again where autograd has left it."""

    def __init__(self, device_type: str) -> None:
        self.device_type = device_type
        self.enabled = torch.is_autocast_enabled(device_type)
        self.dtype = torch.get_autocast_dtype(device_type)

    @property
    def key(self) -> object:
        """What has to be equal for two of them to have the same effect."""
        return self.dtype if self.enabled else None

    def again(self) -> AbstractContextManager[object]:
        """The same autocast, if it is on."""
        if not self.enabled:
            return nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=True)

    def around(self, f: Field) -> Field:
        """f under autocast, its result in the dtype of y: the state, the error norm and the time
        keep their precision."""

        def cast(t: Tensor, y: Tensor) -> Tensor:
            with self.again():
                return f(t, y).to(y.dtype)

        def plain(t: Tensor, y: Tensor) -> Tensor:
            dy = f(t, y)
            return dy if dy.dtype == y.dtype else dy.to(y.dtype)

        return cast if self.enabled else plain


class CountedField:
    """f as a solve calls it: its evaluations are counted, as ``backward`` ones or forward ones.

    Cost: one Python call per evaluation.
    """

    def __init__(self, f: Field, work: Work, autocast: Autocast, *, backward: bool = False) -> None:
        self.f = autocast.around(f)
        self.work = work
        self.backward = backward

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.work.evaluated(1, backward=self.backward)
        return self.f(t, y)
