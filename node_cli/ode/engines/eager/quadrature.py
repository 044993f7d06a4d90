"""dL/dtheta of a backward solve, by Gauss-Legendre quadrature over its steps."""

import torch
from torch import Tensor

from node_cli.ode.engines.eager.dense_output import DenseOutput
from node_cli.ode.engines.eager.layers import linearised
from node_cli.ode.engines.eager.solve import Step
from node_cli.ode.engines.eager.step import Attempt, Stage, Stepper
from node_cli.ode.problem import Nodes, Problem
from node_cli.ode.transfer import vector


class Quadrature:
    """-int lambda^T df/dtheta dt, a step at a time: y and lambda from their dense outputs.

    ``stepper``: of the backward solve, whose state is lambda; ``along``: y. The twin of
    ``quadrature_loop``. Memory: the dense output of the last backward step or two; each is dropped
    once it has been integrated over.
    """

    def __init__(
        self, problem: Problem, stepper: Stepper, along: DenseOutput, nodes: Nodes
    ) -> None:
        self.adjoint = DenseOutput(stepper)
        self.along = along
        self.nodes = nodes
        self.f = linearised(problem, backward=True)
        self.by_parameters = [torch.zeros_like(p) for p in problem.parameters]
        # Of a method without f at the end of its steps, the last polynomial waits for the next one.
        self.waiting = 0 if stepper.tableau.first_same_as_last else 1

    def record(self, step: Step, first: Stage, attempt: Attempt) -> None:
        """Add an accepted step; to be called by the solve, as its ``on_accept``."""
        self.adjoint.record(step, first, attempt)
        if len(self.adjoint.steps) > self.waiting:
            self._integrate_first()

    def finish(self) -> list[Tensor]:
        """After the solve: the integral, a tensor for each parameter."""
        if self.adjoint.steps:
            self.adjoint.complete()
            self._integrate_first()
            self.along.forget_points()
        return self.by_parameters

    def _integrate_first(self) -> None:
        """Integrate over the first of the steps, and drop it."""
        step = self.adjoint.steps[0]
        times = [step.t0 + fraction * step.dt for fraction, _ in self.nodes]
        moments = vector(times, step.y0).unbind()
        for s, moment, (_, weight) in zip(times, moments, self.nodes, strict=True):
            v = self.adjoint.within(0, s).mul_(-weight * step.dt)
            stage = self.f.evaluate(moment, self.along.at(s))
            torch._foreach_add_(self.by_parameters, list(self.f.parameter_products(stage, v)))
        self.adjoint.forget_first()
