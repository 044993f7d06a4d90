"""Counts what a solve costs: evaluations of f (NFE), vector-Jacobian products (VJPs), steps."""

from collections.abc import Callable
from contextlib import AbstractContextManager
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


class Autocast:
    """Remembers whether autocast is on here, to enter it again where autograd has left it."""

    def __init__(self, device_type: str) -> None:
        self.device_type = device_type
        self.enabled = torch.is_autocast_enabled(device_type)
        self.dtype = torch.get_autocast_dtype(device_type)

    def __call__(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=self.enabled)


class CountedField:
    """f as the forward solve calls it: counts its evaluations, and its VJPs under autograd.

    Autocast is entered around f alone and its result cast to the dtype of y, so that the state,
    the error norm and the time keep their precision. Cost: one Python call and, where a gradient
    is wanted, one autograd hook per evaluation.
    """

    def __init__(self, f: Field, work: Work, autocast: Autocast) -> None:
        self.f = f
        self.work = work
        self.autocast = autocast

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.work.nfe_forward += 1
        with self.autocast():
            dy = self.f(t, y).to(y.dtype)
        if dy.requires_grad:
            dy.register_hook(self._count_vjp)
        return dy

    def _count_vjp(self, _grad: Tensor) -> None:
        self.work.vjps_backward += 1
