"""Penalties on the solver's own estimates of each step."""

import torch
from torch import Tensor

from node_cli.ode.penalties import StageValues, StepPenalty, error_of_step, stiffness_of_step
from node_cli.ode.solver import Solver
from node_cli.regularisers.regulariser import OfSteps


class Error(OfSteps):
    """sum_j E_j |h_j| over the accepted steps: E_j the estimated local error in units of the
    tolerance, which the solver keeps at 1 at most, and h_j the size of the step.

    The sizes are constants. Do not use it where the dynamics themselves are wanted, as for a
    physical system: it damps what changes fast.
    """

    def penalty(self, generator: torch.Generator) -> StepPenalty:
        return StepPenalty(_weighted_error)


class Stiffness(OfSteps):
    """sum_j S_j over the accepted steps: S_j is Shampine's estimate of the largest eigenvalue of
    df/dy, from two stages at the same time.

    Of use where stability limits the steps, not accuracy; not where the dynamics are wanted.
    """

    def penalty(self, generator: torch.Generator) -> StepPenalty:
        return StepPenalty(stiffness_of_step)


class LocalBiased(OfSteps):
    """E_j |h_j| of one accepted step, each as likely as the others: more often where the solver
    takes many steps."""

    def penalty(self, generator: torch.Generator) -> StepPenalty:
        place = float(torch.rand((), generator=generator, dtype=torch.float64))
        return StepPenalty(_weighted_error, place)


def _weighted_error(solver: Solver, step: StageValues) -> Tensor:
    return error_of_step(solver, step) * abs(step.dt)
