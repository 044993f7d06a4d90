"""Counts what a solve costs: evaluations of f (NFE), vector-Jacobian products (VJPs), steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

import torch
from torch import Tensor

from node_cli.ode.checks import checked
from node_cli.ode.drift import Drift
from node_cli.ode.field import Autocast, Field


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


Given = ParamSpec("Given")
Result = TypeVar("Result")


class Meter(Protocol):
    """Measures what evaluations of f and their products take, time or memory, say."""

    def around(
        self, part: str, compute: Callable[Given, Result], *, backward: bool
    ) -> Callable[Given, Result]:
        """``compute``, each call of which is measured as one of ``part``, ``f`` or ``VJPs``."""


@dataclass
class Work:
    """The cost of one batch, forward and backward apart.

    ``nfe_forward``: evaluations of f in the forward solve, those of rejected steps and of the
    initial-step heuristic included. ``nfe_backward``: evaluations of f in the backward pass, 0 by
    definition where the gradient reuses the forward graph. ``vjps_backward``: vector-Jacobian
    products of f. ``forward`` and ``backward``: the steps of the two solves. ``nfe_penalty``:
    evaluations of f, and of its derivatives, that penalties on the solve make beside these.
    ``drift_backward``: the largest drift of a y that was solved again backwards (``Drift``), None
    where none was. ``reads_later``: whether somebody calls ``read`` after the backward pass; else
    the drift is read at once, for which the host waits for the device. ``of_blocks``: the parts,
    where it is the sum over several ODE blocks. ``meter``: measures each evaluation and product,
    None where nobody does.
    """

    nfe_forward: int = 0
    nfe_backward: int = 0
    vjps_backward: int = 0
    forward: Steps = field(default_factory=Steps)
    backward: Steps = field(default_factory=Steps)
    nfe_penalty: int = 0
    drift_backward: float | None = field(default=None, compare=False)  # not a count
    reads_later: bool = field(default=False, compare=False)
    unread: list[Drift] = field(default_factory=list, compare=False)
    of_blocks: Sequence["Work"] = field(default=(), compare=False)
    meter: Meter | None = field(default=None, compare=False)

    def evaluated(self, times: int, *, backward: bool = False) -> None:
        """Count evaluations of f."""
        if backward:
            self.nfe_backward += times
        else:
            self.nfe_forward += times

    def drifted(self, drift: Drift) -> None:
        """Take note of the drift of a backward pass; see ``read``."""
        self.unread.append(drift)
        if not self.reads_later:
            self.read()

    def read(self, *numbers: Tensor) -> list[float]:
        """The values of 0-dim tensors, and with them the drifts that are still on the device.

        Cost: the host waits for the device once. Raises SolveFailed where a drift is above its
        limit, and warns where it is large.
        """
        works = (self, *self.of_blocks)
        drifts = [(work, drift) for work in works for drift in work.unread]
        parts = [x.detach().view(1) for x in numbers] + [drift.sizes for _, drift in drifts]
        values: list[float] = torch.cat(parts).tolist() if parts else []
        for work in works:
            work.unread = []
        place = len(numbers)
        for work, drift in drifts:
            largest = drift.largest(values[place : place + len(drift.times)])
            for counted in (work, self):
                counted.drift_backward = max(counted.drift_backward or 0.0, largest)
            place += len(drift.times)
        return values[: len(numbers)]


def total(works: Sequence[Work]) -> Work:
    """The work of several solves together; where it is one, that itself."""
    if len(works) == 1:
        return works[0]
    found = Work(of_blocks=works)
    for work in works:
        found.nfe_forward += work.nfe_forward
        found.nfe_backward += work.nfe_backward
        found.vjps_backward += work.vjps_backward
        found.nfe_penalty += work.nfe_penalty
        found.forward.add(work.forward)
        found.backward.add(work.backward)
    drifts = [work.drift_backward for work in works if work.drift_backward is not None]
    found.drift_backward = max(drifts, default=None)
    return found


class CountedField:
    """f as a solve calls it: its evaluations are counted, as ``backward`` ones or forward ones, and
    its results ``checked``.

    Cost: two Python calls per evaluation.
    """

    def __init__(
        self,
        f: Field,
        work: Work,
        autocast: Autocast,
        *,
        backward: bool = False,
        repeatable: bool = False,
    ) -> None:
        self.f = autocast.around(checked(f, repeatable=repeatable))
        if work.meter:
            self.f = work.meter.around("f", self.f, backward=backward)
        self.work = work
        self.backward = backward

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.work.evaluated(1, backward=self.backward)
        return self.f(t, y)
