"""Adjoint systems solved backwards, step by step."""

from typing import Protocol

import torch
from torch import Tensor

from node_cli.ode.engines.eager.dense_output import DenseOutput
from node_cli.ode.engines.eager.layers import linearised
from node_cli.ode.engines.eager.quadrature import Quadrature
from node_cli.ode.engines.eager.solve import LongestStep, OnAccept, integrate
from node_cli.ode.engines.eager.step import Stepper
from node_cli.ode.engines.step_control import follows_forward_steps
from node_cli.ode.failures import told_of_backward_solve
from node_cli.ode.field import Field
from node_cli.ode.problem import AdjointSystem, Nodes, Problem
from node_cli.ode.solver import Solver
from node_cli.ode.transfer import sent


class Path(Protocol):
    """y(t) of a solve."""

    def at(self, t: float) -> Tensor: ...


def right_hand_side(problem: Problem, system: AdjointSystem, along: Path | None) -> Field:
    """The derivative of an adjoint system as a function of (t, state), evaluated by autograd."""
    f = linearised(problem, backward=True, with_parameters=system.with_parameters)

    def derivative(t: Tensor, state: Tensor) -> Tensor:
        return system.derivative(f, t, state)

    def derivative_along(t: Tensor, state: Tensor) -> Tensor:
        assert along
        y = along.at(float(t))  # without a wait for a device where t is on the CPU
        return system.derivative(f, sent(t, state.device), state, y)

    return derivative_along if along else derivative


class BackwardSolve:
    """See ``engine.BackwardSolve``; by steps of our own. The twin of that of compiled loops."""

    def __init__(
        self, problem: Problem, system: AdjointSystem, solver: Solver, along: DenseOutput | None
    ) -> None:
        self.problem = problem
        self.system = system
        self.solver = solver
        self.along = along
        derivative = right_hand_side(problem, system, along)
        host_times = along is not None
        self.stepper = Stepper(derivative, solver, system.norm, host_times=host_times)
        self.longest: LongestStep | None = None
        if along and follows_forward_steps(problem.solver, solver):
            self.longest = along.longest_step

    @torch.no_grad()
    def solve(self, end: Tensor, t: Tensor) -> Tensor:
        return self._solve(end, t)

    @torch.no_grad()
    def solve_with_quadrature(
        self, end: Tensor, t: Tensor, nodes: Nodes
    ) -> tuple[Tensor, list[Tensor]]:
        if not self.problem.parameters:
            return self._solve(end, t), []
        assert self.along
        quadrature = Quadrature(self.problem, self.stepper, self.along, nodes)
        state = self._solve(end, t, quadrature.record)
        return state, quadrature.finish()

    def _solve(self, end: Tensor, t: Tensor, on_accept: OnAccept = lambda *_: None) -> Tensor:
        with told_of_backward_solve(self.system.state_in_words):
            states, steps = integrate(
                self.stepper,
                end,
                t,
                self.solver,
                self.system.norm,
                on_accept,
                self.longest,
                self.problem.first_steps.backward,
            )
        if self.along:
            self.along.forget_points()
        self.problem.work.backward.add(steps)
        return states[-1]
