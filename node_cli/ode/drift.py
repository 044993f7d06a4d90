"""How far y that is solved again backwards comes from what the forward solve had found."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.ode.failures import SolveFailed
from node_cli.ode.norms import rms_norm
from node_cli.ode.solver import Solver

LARGE = 100.0
"""Tolerances, beyond which there is a warning. Of the solves of benchmarks/drift.py, all whose
gradient is lost are beyond it, and none whose gradient is as accurate as the tolerance promises,
but for linear f: then the adjoint does not depend on y."""

UNCONTROLLED = 1e-3
"""Stands for rtol and atol of a solver with fixed steps, which bounds no error."""


@dataclass(frozen=True)
class Drift:
    """The drift of y in one backward pass, in units of the tolerance.

    ``sizes``: (n,), on the device of y, at the ``times`` (n of them) where an interval between two
    requested times begins. ``solver``: the backward one. ``limit``: beyond which the gradient is
    not to be used; None where there is none.
    """

    sizes: Tensor
    times: list[float]
    solver: Solver
    limit: float | None

    def largest(self, sizes: list[float]) -> float:
        """The largest of ``sizes``, which have been read from the device.

        Warns where it is ``LARGE``; raises SolveFailed where it is above the limit.
        """
        size, t = max(zip(sizes, self.times, strict=True))
        if self.limit is not None and size > self.limit:
            raise SolveFailed(
                f"y came back {size:.3g} tolerances away from that of the forward solve, more than "
                f"max_drift={self.limit:g}",
                solver=self.solver,
                advice="Take another sensitivity, which does not solve y again, or tighter "
                "tolerances.",
                t=t,
                backward=True,
            )
        if size > LARGE:
            # Without the number, so that Python's filter tells it once.
            warnings.warn(
                f"y, solved again backwards, came back more than {LARGE:g} tolerances away from "
                "that of the forward solve (drift_backward in the records), so that the gradient "
                "may be wrong: take another sensitivity, which does not solve y again, or tighter "
                "tolerances",
                stacklevel=3,
            )
        return size


class Unit:
    """The unit of a drift: the tolerance of the two solvers, the looser one, at a state y."""

    def __init__(self, forward: Solver, backward: Solver) -> None:
        pairs = [
            (s.rtol, s.atol) if s.method.kind in ("adaptive", "scipy") else (None, None)
            for s in (forward, backward)
        ]
        self.rtol, self.atol = (
            max(UNCONTROLLED if x is None else x for x in column)
            for column in zip(*pairs, strict=True)
        )

    def distance(self, solved: Tensor, y: Tensor) -> Tensor:
        """The RMS norm of the difference from y in this unit, 0-dim. Always finite."""
        size = rms_norm((solved - y) / (self.atol + self.rtol * y.abs()))
        return size.clamp(max=torch.finfo(size.dtype).max)
