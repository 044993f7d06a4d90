"""Numbers that the steps of a solver have beside their result, as penalties on a solve."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.ode.norms import rms_norm
from node_cli.ode.solver import Solver


@dataclass(frozen=True)
class StageValues:
    """A step from y0 = ``states[0]`` to ``y1``, of size ``dt``, by its stages.

    ``states``: where f was evaluated, Y_i. ``slopes``: k_i = f(t_i, Y_i). All are shaped like y;
    one for each stage of the solver's method. Where the last stage is that, ``y1`` is its state.
    """

    states: Sequence[Tensor]
    slopes: Sequence[Tensor]
    y1: Tensor
    dt: float


@dataclass(frozen=True)
class StepPenalty:
    """A number for each accepted step of a solve: their sum, or that of one step.

    ``measure``: (solver, step) -> a 0-dim tensor that torch can differentiate by every tensor of
    the step. ``place``: None for the sum; else in [0, 1), where among the accepted steps the one
    step is.
    """

    measure: Callable[[Solver, StageValues], Tensor]
    place: float | None = None

    def counts(self, step: int, steps: int) -> bool:
        """Whether the step of this index among so many ones counts."""
        return self.place is None or step == math.floor(self.place * steps)


def error_of_step(solver: Solver, step: StageValues) -> Tensor:
    """The estimated local error in units of the tolerance, 0-dim: what the solver accepts up to 1.

    The RMS over all elements of dt sum_i (b_i - b'_i) k_i / (atol + rtol max(|y0|, |y1|)).
    """
    weights = solver.tableau.b_error
    assert weights is not None and solver.rtol is not None and solver.atol is not None
    error = torch.zeros_like(step.y1)
    for weight, slope in zip(weights, step.slopes, strict=True):
        if weight:
            error = error + (weight * step.dt) * slope
    largest = torch.maximum(step.states[0].abs(), step.y1.abs())
    return rms_norm(error / (solver.atol + solver.rtol * largest))


def stiffness_of_step(solver: Solver, step: StageValues) -> Tensor:
    """An estimate of the largest eigenvalue of df/dy, in 1/t, 0-dim.

    |k_j - k_i| / |Y_j - Y_i| of two stages at the same time; 0 where they are equal. Source:
    Shampine, "Stiffness and nonstiff differential equation solvers, II: detecting stiffness with
    Runge-Kutta methods", ACM Trans. Math. Softw. 3 (1977).
    """
    stages = solver.tableau.stages_at_one_time
    assert stages is not None
    i, j = stages
    distance = rms_norm(step.states[j] - step.states[i])
    change = rms_norm(step.slopes[j] - step.slopes[i])
    is_zero = distance == 0
    return torch.where(is_zero, 0.0, change / torch.where(is_zero, 1.0, distance))
