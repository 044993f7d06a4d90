"""Discretise, then optimise: the exact gradient of the numerical solution."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from node_cli.ode.engines import reference
from node_cli.ode.engines.compiled.solve import Recorded
from node_cli.ode.engines.eager import solve
from node_cli.ode.engines.eager.adjoint import Pull, adjoint_of_steps, step_adjoint
from node_cli.ode.engines.eager.linearised import Linearised
from node_cli.ode.engines.eager.solve import Step
from node_cli.ode.engines.eager.step import Attempt, Stage, Stepper
from node_cli.ode.sensitivity.loop_adjoint import KeptSteps, adjoint_of_loop
from node_cli.ode.sensitivity.method import CustomGradient, Gradients, Problem
from node_cli.ode.solver import Solver
from node_cli.ode.tableau import Tableau
from node_cli.ode.work import Autocast, CountedField, Field, Work


@dataclass(frozen=True)
class Discrete(CustomGradient):
    """Reverse-mode differentiation of the solver's own steps, step sizes held constant.

    Gives dL/dtheta, dL/dy0 and, when t requires grad, dL/dt of the numerical solution, exact to
    rounding at any tolerance. Memory: NFE times the activations of f. Cost: one VJP for every
    evaluation of f that the result depends on, no further evaluation. Do not use it where that
    memory does not fit, or with scipy, whose solution carries no gradient.

    With the native engine autograd sees f alone: the steps are differentiated by ``step_adjoint``,
    and a second backward pass raises RuntimeError, as the first frees the graphs. With
    engine=torchdiffeq autograd goes through the solver, and second derivatives exist.

    Source: Gholami, Keutzer and Biros, "ANODE: Unconditionally accurate memory-efficient gradients
    for neural ODEs", IJCAI 2019, section 3 (the discretise-then-optimise gradient).
    """

    evaluates_backwards = False
    keeps: ClassVar[KeptSteps] = "stages"

    def __call__(
        self, field: nn.Module, y0: Tensor, t: Tensor, solver: Solver, work: Work
    ) -> Tensor:
        if solver.engine == "native" or not torch.is_grad_enabled():
            return super().__call__(field, y0, t, solver, work)
        assert solver.name != "scipy", "has no gradient"
        f = CountedField(field, work, Autocast(y0.device.type))
        y, steps = reference.integrate(_counting_vjps(f), y0, t, solver)
        work.forward.add(steps)
        return y

    def forward(self, problem: Problem) -> tuple[Tensor, "Recorded | _Kept | None"]:
        if problem.compiled:
            return problem.solve_in_loop(self.keeps)
        kept = _Kept(problem.linearised(backward=False, with_time=problem.t.requires_grad), [])
        stepper = Stepper(kept.f.f, problem.solver, evaluate=kept.f.evaluate)
        y, steps = solve.integrate(
            stepper, problem.y0.detach(), problem.t, problem.solver, on_accept=kept.record
        )
        problem.work.forward.add(steps)
        return y, kept

    def gradient(
        self, problem: Problem, kept: "Recorded | _Kept", y: Tensor, grad_y: Tensor
    ) -> Gradients:
        if isinstance(kept, Recorded):
            return adjoint_of_loop(problem, kept, self.keeps, grad_y)
        if not kept.steps:
            raise RuntimeError(
                "sensitivity=discrete frees its graphs in the first backward pass; for a second "
                "one take sensitivity=checkpointed, or solver.engine=torchdiffeq"
            )
        return adjoint_of_steps(kept.taken(problem.solver.tableau), grad_y, problem)


@dataclass
class _Kept:
    f: Linearised
    steps: list[tuple[Step, list[Stage]]]

    def record(self, step: Step, _first: Stage, attempt: Attempt) -> None:
        self.steps.append((step, attempt.stages))

    def taken(self, tableau: Tableau) -> Iterator[tuple[Step, Pull]]:
        """The steps from the last to the first, none of them kept any longer."""
        while self.steps:
            step, stages = self.steps.pop()
            yield step, partial(step_adjoint, self.f, tableau, step, stages)


def _counting_vjps(f: CountedField) -> Field:
    def count(_: Tensor) -> None:
        f.work.vjps_backward += 1

    def counted(t: Tensor, y: Tensor) -> Tensor:
        dy = f(t, y)
        if dy.requires_grad:
            dy.register_hook(count)
        return dy

    return counted
