"""The adjoint of explicit Runge-Kutta steps, written out."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from node_cli.ode.engines.eager.linearised import Linearised
from node_cli.ode.engines.eager.solve import Step
from node_cli.ode.engines.eager.step import Stage, combination
from node_cli.ode.sensitivity.method import Gradients, Problem
from node_cli.ode.tableau import Tableau


class StepGradient(NamedTuple):
    """dL/dy0 and, where the time is wanted, dL/dt0 and dL/ddt."""

    y0: Tensor
    t0: float
    dt: float


def step_adjoint(
    f: Linearised,
    tableau: Tableau,
    step: Step,
    stages: list[Stage],
    adjoint: Tensor,
    gradient: list[Tensor],
) -> StepGradient:
    """From lambda = dL/dy1 to dL/dy0; dL/dtheta is added to ``gradient`` in place.

    The step is Y_i = y0 + dt sum_j a_ij k_j, k_i = f(t0 + c_i dt, Y_i), y1 = y0 + dt sum_i b_i k_i.
    With v_i the vector-Jacobian product of f at stage i and g_i, from the last stage to the first,

        g_i = dt (b_i lambda + sum_{j>i} a_ji v_j),    v_i = g_i^T df/dy(t_i, Y_i),
        dL/dy0 = lambda + sum_i v_i,                   dL/dtheta += g_i^T df/dtheta(t_i, Y_i).

    Cost: one VJP per stage that y1 depends on. Source: Hager, "Runge-Kutta methods in optimal
    control and the transformed adjoint system", Numer. Math. 87 (2000), eq. (8)-(10).
    """
    count = tableau.stages_of_result
    products: list[Tensor] = []  # v_j, from the last stage backwards
    grad_t0 = grad_dt = 0.0
    for i in reversed(range(count)):
        weights = [tableau.a[j][i] * step.dt for j in range(count - 1, i, -1)]
        g = combination(adjoint * (tableau.b[i] * step.dt), weights, products)
        product = f.products(stages[i], g)
        products.append(product.y)
        if product.parameters:
            torch._foreach_add_(gradient, product.parameters)
        if product.t is not None:
            grad_t0 += float(product.t)
            moved = float((product.y * (stages[i].y - step.y0)).sum())
            grad_dt += tableau.c[i] * float(product.t) + moved / step.dt
    if f.with_time:
        grad_dt += float((adjoint * (step.y1 - step.y0)).sum()) / step.dt
    return StepGradient(combination(adjoint, [1.0] * count, products), grad_t0, grad_dt)


Pull = Callable[[Tensor, list[Tensor]], StepGradient]
"""The adjoint of one step: from dL/dy1, adding to dL/dtheta in place."""


def adjoint_of_steps(
    steps: Iterable[tuple[Step, Pull]], grad_y: Tensor, problem: Problem
) -> Gradients:
    """From dL/dy at the requested times, ``(T, *y0.shape)``, to the gradients.

    ``steps``: every accepted step and its adjoint, from the last to the first.
    """
    t = problem.t
    grad_t = [0.0] * len(t)
    gradient = [torch.zeros_like(p) for p in problem.parameters]
    interval = len(t) - 2
    adjoint = grad_y[-1]
    for step, pull in steps:
        if step.interval < interval:
            interval = step.interval
            adjoint = adjoint + grad_y[interval + 1]
        found = pull(adjoint, gradient)
        adjoint = found.y0
        by_length = found.t0 * step.share_t0 + found.dt * step.share_dt
        grad_t[interval] += found.t0 - by_length
        grad_t[interval + 1] += by_length
    return Gradients(
        torch.tensor(grad_t, dtype=t.dtype, device=t.device) if t.requires_grad else None,
        adjoint + grad_y[0],
        gradient,
    )
