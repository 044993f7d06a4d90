"""The adjoint of a solve by a compiled loop: a loop as well."""

from typing import Literal

import torch
from torch import Tensor

from node_cli.ode.engines.compiled.adjoint import adjoint_loop
from node_cli.ode.engines.compiled.solve import Recorded
from node_cli.ode.sensitivity.method import Gradients, Problem

KeptSteps = Literal["stages", "states"]
"""What the tape has of each step for its adjoint."""


@torch.no_grad()
def adjoint_of_loop(problem: Problem, kept: Recorded, keep: KeptSteps, grad_y: Tensor) -> Gradients:
    """As ``adjoint_of_steps``. ``keep``: what is on the tape; from states alone stages are computed
    again."""
    owner, f, tableau = kept.owner, problem.captured, problem.solver.tableau
    key = ("adjoint", owner.key(problem.autocast, problem.y0), problem.solver.name, keep)
    function = owner.function(key, grad_y.device, lambda: adjoint_loop(f, tableau))
    count_adjoint(problem, kept.count, keep)
    adjoint = grad_y[-1].contiguous()
    gradient: list[Tensor] = []
    for (low, high), jump in zip(reversed(kept.spans), reversed(grad_y[:-1].unbind()), strict=True):
        span = torch.tensor((low, high), device=grad_y.device)
        adjoint, *found = function(span, adjoint, kept.tape, *f.parameters)
        adjoint = adjoint + jump  # contiguous, as its first term
        gradient = list(torch._foreach_add(gradient, found)) if gradient and found else found
    return Gradients(None, adjoint, gradient)


def count_adjoint(problem: Problem, steps: int, keep: KeptSteps) -> None:
    """One product for every stage, and one evaluation where stages are computed again."""
    products = steps * problem.solver.tableau.stages_of_result
    problem.work.vjps_backward += products
    if keep == "states":
        problem.work.evaluated(products, backward=True)
