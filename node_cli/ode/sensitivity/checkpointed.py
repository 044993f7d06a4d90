"""Discretise, then optimise, the stages of each step computed again on the way back."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from node_cli.ode.native import Step
from node_cli.ode.sensitivity.custom import CustomGradient, Gradients, Problem
from node_cli.ode.sensitivity.step_adjoint import StepGradient, adjoint_of_steps, step_adjoint
from node_cli.ode.step import stages_of_step


@dataclass(frozen=True)
class Checkpointed(CustomGradient):
    """The gradient of ``Discrete``, from the accepted states alone.

    Memory: one state per accepted step, and the activations of f in one step. Cost: the stages of
    every accepted step once more, and one VJP for each; do not use it where the memory of
    ``Discrete`` fits. Needs a solver of the native engine. The gradient equals that of ``Discrete``
    to the last bit where f gives the same result twice (on a CPU, and with deterministic kernels).

    Source: Zhuang et al., "Adaptive checkpoint adjoint method for gradient estimation in neural
    ODE", ICML 2020, algorithm 2.
    """

    def forward(self, problem: Problem, y0: Tensor) -> tuple[Tensor, list[Step]]:
        accepted: list[Step] = []
        y = problem.solve(y0, lambda step, *_: accepted.append(step))
        return y, accepted

    def gradient(self, problem: Problem, kept: list[Step], y: Tensor, grad_y: Tensor) -> Gradients:
        pull = (
            _compiled(problem)
            if problem.compiled and not problem.t.requires_grad
            else _eager(problem)
        )
        steps = ((step, partial(pull, step)) for step in reversed(kept))
        return adjoint_of_steps(steps, grad_y, problem)


def _eager(problem: Problem) -> Callable[[Step, Tensor, list[Tensor]], StepGradient]:
    f, tableau = problem.linearised(with_time=problem.t.requires_grad), problem.solver.tableau
    count = tableau.stages_of_result

    def pull(step: Step, adjoint: Tensor, gradient: list[Tensor]) -> StepGradient:
        t = torch.tensor(step.times[0], dtype=step.y0.dtype, device=step.y0.device)
        first = f.evaluate(t, step.y0.detach())
        stages = stages_of_step(f.evaluate, tableau, first, step.times, step.dt, count)
        return step_adjoint(f, tableau, step, stages, adjoint, gradient)

    return pull


def _compiled(problem: Problem) -> Callable[[Step, Tensor, list[Tensor]], StepGradient]:
    """The same by the graph of a whole step, and its adjoint as autograd compiles it."""
    assert problem.compiled
    tableau, work, parameters = problem.solver.tableau, problem.work, problem.parameters
    result = problem.compiled.result_of_step(problem.solver, problem.autocast)

    def pull(step: Step, adjoint: Tensor, gradient: list[Tensor]) -> StepGradient:
        y0 = step.y0.detach().requires_grad_()
        with torch.enable_grad():
            y1 = result(step.times, step.dt, y0)
        work.evaluated(tableau.stages_of_result, backward=True)
        work.vjps_backward += tableau.stages_of_result
        by_y0, *found = torch.autograd.grad(
            y1, [y0, *parameters], adjoint, allow_unused=True, materialize_grads=True
        )
        if found:
            torch._foreach_add_(gradient, found)
        return StepGradient(by_y0, 0.0, 0.0)

    return pull
