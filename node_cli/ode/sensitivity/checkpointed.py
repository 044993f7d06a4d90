"""Discretise, then optimise, the stages of each step computed again on the way back."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from node_cli.ode.engines.compiled.solve import Recorded
from node_cli.ode.engines.eager.adjoint import StepGradient, adjoint_of_steps, step_adjoint
from node_cli.ode.engines.eager.linearised import Linearised
from node_cli.ode.engines.eager.solve import Step
from node_cli.ode.engines.eager.step import stages_of_step
from node_cli.ode.sensitivity.loop_adjoint import KeptSteps, adjoint_of_loop
from node_cli.ode.sensitivity.method import CustomGradient, Gradients, Problem
from node_cli.ode.tableau import Tableau


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

    keeps: ClassVar[KeptSteps] = "states"

    def forward(self, problem: Problem) -> tuple[Tensor, Recorded | list[Step] | None]:
        if problem.compiled:
            return problem.solve_in_loop(self.keeps)
        accepted: list[Step] = []
        y = problem.solve(lambda step, *_: accepted.append(step))
        return y, accepted

    def gradient(
        self, problem: Problem, kept: Recorded | list[Step], y: Tensor, grad_y: Tensor
    ) -> Gradients:
        if isinstance(kept, Recorded):
            return adjoint_of_loop(problem, kept, self.keeps, grad_y)
        f = problem.linearised(with_time=problem.t.requires_grad)
        steps = ((step, partial(_pull, f, problem.solver.tableau, step)) for step in reversed(kept))
        return adjoint_of_steps(steps, grad_y, problem)


def _pull(
    f: Linearised, tableau: Tableau, step: Step, adjoint: Tensor, gradient: list[Tensor]
) -> StepGradient:
    t = torch.tensor(step.times[0], dtype=step.y0.dtype, device=step.y0.device)
    first = f.evaluate(t, step.y0.detach())
    count = tableau.stages_of_result
    stages = stages_of_step(f.evaluate, tableau, first, step.times, step.dt, count)
    return step_adjoint(f, tableau, step, stages, adjoint, gradient)
