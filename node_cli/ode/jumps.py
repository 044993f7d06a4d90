"""Times at which f jumps: a solve is cut there into pieces, each of which sees its side of f."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from node_cli.ode.engines.formulas import just_before


class OneSided(nn.Module):
    """A field between two times at which it may jump: at both it is what it is just inside.

    ``start``, ``end``: the one or the other is None where f is continuous. ``inside``: a time
    between them. Cost: one operation on the time for each evaluation.
    """

    def __init__(
        self, field: nn.Module, start: float | None, end: float | None, inside: float
    ) -> None:
        super().__init__()
        self.field = field
        self.jumps = [t for t in (start, end) if t is not None]
        self.inside = inside

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        nearest = [just_before(jump, self.inside, t.dtype) for jump in self.jumps]
        low = max((t for t in nearest if t < self.inside), default=-math.inf)
        high = min((t for t in nearest if t > self.inside), default=math.inf)
        within = t.detach().clamp(low, high)
        if t.requires_grad:
            within = t + (within - t.detach())  # moves with t
        dy: Tensor = self.field(within, y)
        return dy


@dataclass(frozen=True)
class Piece:
    """A part of a solve in which f does not jump.

    ``t``: (n,), its ends and the requested times within. ``rows``: which of them were requested, a
    time where two pieces meet counted to the first one. ``start``, ``end``: its ends where f jumps
    there, else None.
    """

    t: Tensor
    rows: slice
    start: float | None
    end: float | None

    @property
    def bounds(self) -> tuple[float | None, float | None, float]:
        """Those of ``OneSided``."""
        first, last = self.t[[0, -1]].tolist()
        return self.start, self.end, (first + last) / 2


def pieces(t: Tensor, jumps: Sequence[float]) -> list[Piece]:
    """Cut a solve over the times t (T,), which are monotonic, at these times.

    Those before t[0] and after t[-1] are left out. Raises ValueError where the gradient by a
    requested time is wanted at which f jumps: there is none.
    """
    times: list[float] = t.tolist()
    jumps = torch.tensor(jumps, dtype=t.dtype).tolist()  # as t has them
    first, last = times[0], times[-1]
    sign = 1 if last > first else -1
    inside = {j for j in jumps if sign * first < sign * j < sign * last}
    if t.requires_grad and (met := sorted(inside & {*times})):
        raise ValueError(f"dL/dt is not defined at t={met[0]:g}, where f jumps (jump_t)")
    found = []
    for a, b in pairwise([first, *sorted(inside, reverse=sign < 0), last]):
        low = sum(sign * time <= sign * a for time in times) if a != first else 0
        high = sum(sign * time < sign * b for time in times) if b != last else len(times)
        parts = [t[low:high]]
        if a != first:
            parts.insert(0, t.new_tensor([a]))
        if b != last:
            parts.append(t.new_tensor([b]))
        rows = slice(int(a != first), None if b in times else -1)
        start, end = (x if x in jumps else None for x in (a, b))
        found.append(Piece(torch.cat(parts), rows, start, end))
    return found
