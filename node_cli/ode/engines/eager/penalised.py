"""The adjoint of steps on which there are penalties, step by step.

Beside ``adjoint.py``, since a penalty may depend on the last stage of a step, which its result does
not depend on.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from node_cli.ode.engines.eager.layers import linearised
from node_cli.ode.engines.eager.linearised import Linearised
from node_cli.ode.engines.eager.solve import Step
from node_cli.ode.engines.eager.step import Attempt, Stage, stages_of_step
from node_cli.ode.engines.formulas import weighted_sum
from node_cli.ode.penalties import StageValues
from node_cli.ode.problem import Gradients, Problem
from node_cli.ode.solver import Keep
from node_cli.ode.transfer import vector


class Cotangents(NamedTuple):
    """dR/dY_i and dR/dk_i of a step, one for each stage, and dR/dy1 beside that."""

    states: list[Tensor]
    slopes: list[Tensor]
    y1: Tensor


class PenalisedSteps:
    """The accepted steps, what their penalties measure, and for ``stages`` the graphs of f; see
    ``engine.StepRecord``.

    The first ``pull_back`` frees the graphs; a further one computes the stages again, as it does
    with ``states`` alone. Memory: that of ``KeptStages`` or ``KeptStates``.
    """

    def __init__(self, problem: Problem, keep: Keep) -> None:
        self.problem = problem
        self.f = linearised(problem)
        self.again = linearised(problem, backward=True)
        self.steps: list[Step] = []
        self.stages: list[list[Stage]] | None = [] if keep == "stages" else None
        self.measured: list[list[Tensor]] = []  # of each step, one for each penalty

    def record(self, step: Step, _first: Stage, attempt: Attempt) -> None:
        """Add an accepted step; to be called by the solve, as its ``on_accept``."""
        problem = self.problem
        self.steps.append(step)
        if self.stages is not None:
            self.stages.append(attempt.stages)
        values = StageValues(
            [stage.y.detach() for stage in attempt.stages],
            [stage.k.detach() for stage in attempt.stages],
            attempt.y1.detach(),
            step.dt,
        )
        self.measured.append([p.measure(problem.solver, values) for p in problem.penalties])

    def penalties(self) -> Tensor:
        """What each penalty has measured in the solve, (P,)."""
        steps = len(self.steps)
        return torch.stack(
            [
                torch.stack(
                    [of_step[p] for j, of_step in enumerate(self.measured) if x.counts(j, steps)]
                ).sum()
                for p, x in enumerate(self.problem.penalties)
            ]
        )

    def pull_back(self, grad_y: Tensor, grad_penalties: Tensor) -> Gradients:
        """The gradients from dL/dy at the requested times, (T, *y0.shape), and from dL/dR, (P,).

        With v_i the product of f at stage i, r_i = dR/dY_i and s_i = dR/dk_i, and lambda = dL/dy1,
        from the last stage to the first,

            g_i = dt (b_i lambda + sum_{j>i} a_ji u_j) + s_i,    u_i = g_i^T df/dy(t_i, Y_i) + r_i,
            dL/dy0 = lambda + sum_i u_i,                         dL/dtheta += g_i^T df/dtheta.

        Where the last stage is f(t1, y1), the first one of the next step, its g is handed on from
        there to here, so that f is differentiated once. Cost: one VJP per stage that y1 depends on,
        one more in a solve, and with ``states`` every stage again.
        """
        problem = self.problem
        by_parameters = [torch.zeros_like(p) for p in problem.parameters]
        adjoint, of_slope = grad_y[-1], None
        interval = len(problem.t) - 2
        for f, number, stages in self._steps_backwards():
            step = self.steps[number]
            if step.interval < interval:
                interval = step.interval
                adjoint = adjoint + grad_y[interval + 1]
            found = self._cotangents(number, stages, grad_penalties)
            adjoint, of_slope = _pull(
                f, problem, step, stages, found, adjoint, of_slope, by_parameters, number == 0
            )
        return Gradients(None, adjoint + grad_y[0], by_parameters)

    def _steps_backwards(self) -> Iterator[tuple[Linearised, int, list[Stage]]]:
        """The index of each step, its stages, and what differentiates them."""
        stages, self.stages = self.stages, None
        for number in reversed(range(len(self.steps))):
            # None of the stages is kept any longer than its step is at hand.
            if stages is not None:
                yield self.f, number, stages.pop()
            else:
                yield self.again, number, self._stages_again(self.steps[number])

    def _stages_again(self, step: Step) -> list[Stage]:
        f, tableau = self.again, self.problem.solver.tableau
        moments = vector(step.times, step.y0).unbind()
        first = f.evaluate(moments[0], step.y0.detach())
        return stages_of_step(f.evaluate, tableau, first, moments, step.dt, tableau.stages)

    def _cotangents(self, number: int, stages: list[Stage], grad_penalties: Tensor) -> Cotangents:
        """The derivatives of the penalties on one step, times dL/dR."""
        problem, steps = self.problem, len(self.steps)
        states = [stage.y.detach().requires_grad_() for stage in stages]
        slopes = [stage.k.detach().requires_grad_() for stage in stages]
        shared = problem.solver.tableau.first_same_as_last
        y1 = states[-1] if shared else self.steps[number].y1.detach().requires_grad_()
        leaves = [*states, *slopes, *([] if shared else [y1])]
        values = StageValues(states, slopes, y1, self.steps[number].dt)
        total = None
        with torch.enable_grad():
            for penalty, weight in zip(problem.penalties, grad_penalties, strict=True):
                if penalty.counts(number, steps):
                    value = weight * penalty.measure(problem.solver, values)
                    total = value if total is None else total + value
        found: list[Tensor | None] = [None] * len(leaves)
        if total is not None and total.requires_grad:
            found = list(torch.autograd.grad(total, leaves, allow_unused=True))
        grads = [
            torch.zeros_like(x) if g is None else g for x, g in zip(leaves, found, strict=True)
        ]
        count = len(stages)
        of_y1 = torch.zeros_like(y1) if shared else grads[-1]
        return Cotangents(grads[:count], grads[count : 2 * count], of_y1)


def _pull(
    f: Linearised,
    problem: Problem,
    step: Step,
    stages: list[Stage],
    found: Cotangents,
    adjoint: Tensor,
    of_slope: Tensor | None,
    by_parameters: list[Tensor],
    is_first: bool,
) -> tuple[Tensor, Tensor | None]:
    """From dL/dy1 and, where the next step has begun with it, dL/dk of the last stage to dL/dy0 and
    dL/dk of the first; see ``pull_back``."""
    tableau = problem.solver.tableau
    shared = tableau.first_same_as_last
    adjoint = adjoint + found.y1
    sums: list[Tensor] = []  # u_j, from the last stage backwards
    handed_on = None
    for i in reversed(range(len(stages))):
        is_last = i == len(stages) - 1
        if shared and is_last:
            g = found.slopes[i] if of_slope is None else found.slopes[i] + of_slope
        else:
            weights = [tableau.a[j][i] * step.dt for j in range(len(stages) - 1, i, -1)]
            # y1 is the state of a last stage that is shared, and lambda is among its u.
            b = 0.0 if shared else tableau.b[i]
            g = weighted_sum(adjoint * (b * step.dt) + found.slopes[i], weights, sums)
        if shared and i == 0 and not is_first:
            handed_on, u = g, found.states[i]
        else:
            product = f.products(stages[i], g)
            if product.parameters:
                torch._foreach_add_(by_parameters, product.parameters)
            u = product.y + found.states[i]
        sums.append(u + adjoint if shared and is_last else u)
    start = torch.zeros_like(adjoint) if shared else adjoint
    return weighted_sum(start, [1.0] * len(sums), sums), handed_on
