"""The adjoint of explicit Runge-Kutta steps, step by step: the gradient of the numerical
solution."""

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from node_cli.ode.engines.eager.layers import linearised
from node_cli.ode.engines.eager.linearised import Linearised
from node_cli.ode.engines.eager.solve import Step
from node_cli.ode.engines.eager.step import Attempt, Stage, stages_of_step
from node_cli.ode.problem import Gradients, Problem
from node_cli.ode.tableau import Tableau
from node_cli.ode.transfer import sent, vector


class StepCotangents(NamedTuple):
    """dL/dy0 of a step and, where the time is wanted, dL/dt0 and dL/ddt."""

    y0: Tensor
    t0: float
    dt: float


Pull = Callable[[Tensor, list[Tensor]], StepCotangents]
"""The adjoint of one step: from dL/dy1; dL/dtheta is added to the list in place."""


class KeptStates:
    """The accepted steps alone, whose stages are computed again; see ``engine.StepRecord``.

    Memory: one state per step.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.steps: list[Step] = []

    def record(self, step: Step, _first: Stage, _attempt: Attempt) -> None:
        """Add an accepted step; to be called by the solve, as its ``on_accept``."""
        self.steps.append(step)

    def pull_back(self, grad_y: Tensor) -> Gradients:
        problem = self.problem
        with_time = problem.t.requires_grad
        f = linearised(problem, backward=True, with_time=with_time)
        tableau = problem.solver.tableau
        steps = ((step, partial(_pull_again, f, tableau, step)) for step in reversed(self.steps))
        return _adjoint_of_steps(steps, grad_y, problem)


class KeptStages(KeptStates):
    """The accepted steps with the graphs of their stages; see ``engine.StepRecord``.

    The first ``pull_back`` frees the graphs; a further one (``retain_graph=True``) computes the
    stages again. Memory: the activations of f at every stage that the result depends on, and after
    the first one a state per step.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        with_time = problem.t.requires_grad
        self.f = linearised(problem, with_time=with_time)
        self.stages: list[list[Stage]] | None = []  # of each step

    def record(self, step: Step, first: Stage, attempt: Attempt) -> None:
        super().record(step, first, attempt)
        assert self.stages is not None
        self.stages.append(attempt.stages)

    def pull_back(self, grad_y: Tensor) -> Gradients:
        stages, self.stages = self.stages, None
        if stages is None:
            return super().pull_back(grad_y)
        tableau = self.problem.solver.tableau
        # None of the stages is kept any longer than its step is at hand.
        steps = (
            (step, partial(step_adjoint, self.f, tableau, step, stages.pop()))
            for step in reversed(self.steps)
        )
        return _adjoint_of_steps(steps, grad_y, self.problem)


def _pull_again(
    f: Linearised, tableau: Tableau, step: Step, adjoint: Tensor, by_parameters: list[Tensor]
) -> StepCotangents:
    """``step_adjoint`` of a step whose stages are computed again."""
    moments = vector(step.times, step.y0).unbind()
    first = f.evaluate(moments[0], step.y0.detach())
    count = tableau.stages_of_result
    stages = stages_of_step(f.evaluate, tableau, first, moments, step.dt, count)
    return step_adjoint(f, tableau, step, stages, adjoint, by_parameters)


def step_adjoint(
    f: Linearised,
    tableau: Tableau,
    step: Step,
    stages: list[Stage],
    adjoint: Tensor,
    by_parameters: list[Tensor],
) -> StepCotangents:
    """From lambda = dL/dy1 to dL/dy0; dL/dtheta is added to ``by_parameters`` in place.

    The step is Y_i = y0 + dt sum_j a_ij k_j, k_i = f(t0 + c_i dt, Y_i), y1 = y0 + dt sum_i b_i k_i.
    With v_i the vector-Jacobian product of f at stage i and g_i, from the last stage to the first,

        g_i = dt (b_i lambda + sum_{j>i} a_ji v_j),    v_i = g_i^T df/dy(t_i, Y_i),
        dL/dy0 = lambda + sum_i v_i,                   dL/dtheta += g_i^T df/dtheta(t_i, Y_i).

    ``adjoint``: lambda, shaped like y. Cost: one VJP per stage that y1 depends on, whose result is
    added to all sums that are left at once. The twin of ``adjoint_loop``. Source: Hager,
    "Runge-Kutta methods in optimal control and the transformed adjoint system", Numer. Math. 87
    (2000), eq. (8)-(10).
    """
    weights = _weights(tableau, step.dt, adjoint)
    sums = weights[0] * adjoint
    *cotangents, of_y0 = sums.unbind()
    grad_t0 = grad_dt = 0.0
    for row, g in enumerate(cotangents, start=1):
        i = tableau.stages_of_result - row
        product = f.products(stages[i], g)
        sums[row:].addcmul_(weights[row, row:], product.y)
        if product.parameters:
            torch._foreach_add_(by_parameters, product.parameters)
        if product.t is not None:
            grad_t0 += float(product.t)
            moved = float((product.y * (stages[i].y - step.y0)).sum())
            grad_dt += tableau.c[i] * float(product.t) + moved / step.dt
    if f.with_time:
        grad_dt += float((adjoint * (step.y1 - step.y0)).sum()) / step.dt
    return StepCotangents(of_y0.clone(), grad_t0, grad_dt)  # without the memory of the other sums


def _weights(tableau: Tableau, dt: float, adjoint: Tensor) -> Tensor:
    """Of the sums g_i, from the last stage to the first, and dL/dy0 (columns): for lambda, and for
    v_j from the last stage to the first (rows). Of as many dimensions more as lambda has."""
    fixed, scaled = _table(tableau)
    weights = sent(torch.add(fixed, scaled, alpha=dt).to(adjoint.dtype), adjoint.device)
    return weights.view(*weights.shape, *[1] * adjoint.dim())


@cache
def _table(tableau: Tableau) -> tuple[Tensor, Tensor]:
    """What of ``_weights`` is fixed, and what is multiplied by the step size; float64."""
    count = tableau.stages_of_result
    fixed, scaled = torch.zeros(2, count + 1, count + 1, dtype=torch.float64)
    fixed[:, -1] = 1
    for column, i in enumerate(reversed(range(count))):
        scaled[0, column] = tableau.b[i]
        for row, j in enumerate(reversed(range(i + 1, count)), start=1):
            scaled[row, column] = tableau.a[j][i]
    return fixed, scaled


def _adjoint_of_steps(
    steps: Iterable[tuple[Step, Pull]], grad_y: Tensor, problem: Problem
) -> Gradients:
    """From dL/dy at the requested times, ``(T, *y0.shape)``, to the gradients.

    ``steps``: every accepted step and its adjoint, from the last to the first. The twin of
    ``compiled.adjoint.StepRecord.pull_back``.
    """
    t = problem.t
    grad_t = [0.0] * len(t)
    by_parameters = [torch.zeros_like(p) for p in problem.parameters]
    interval = len(t) - 2
    adjoint = grad_y[-1]
    for step, pull in steps:
        if step.interval < interval:
            interval = step.interval
            adjoint = adjoint + grad_y[interval + 1]
        found = pull(adjoint, by_parameters)
        adjoint = found.y0
        by_length = found.t0 * step.share_t0 + found.dt * step.share_dt
        grad_t[interval] += found.t0 - by_length
        grad_t[interval + 1] += by_length
    return Gradients(
        torch.tensor(grad_t, dtype=t.dtype, device=t.device) if t.requires_grad else None,
        adjoint + grad_y[0],
        by_parameters,
    )
