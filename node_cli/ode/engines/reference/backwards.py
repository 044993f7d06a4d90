"""Adjoint systems solved backwards by torchdiffeq."""

import torch
from torch import Tensor

from node_cli.ode.engines.eager.backwards import Path, right_hand_side
from node_cli.ode.engines.reference.solve import integrate
from node_cli.ode.failures import told_of_backward_solve
from node_cli.ode.problem import AdjointSystem, Nodes, Problem
from node_cli.ode.solver import Solver


class BackwardSolve:
    """See ``engine.BackwardSolve``; by torchdiffeq, which has no dense output for a quadrature."""

    def __init__(
        self, problem: Problem, system: AdjointSystem, solver: Solver, along: Path | None
    ) -> None:
        self.problem = problem
        self.system = system
        self.solver = solver
        self.derivative = right_hand_side(problem, system, along)

    @torch.no_grad()
    def solve(self, end: Tensor, t: Tensor) -> Tensor:
        with told_of_backward_solve(self.system.state_in_words):
            states, steps = integrate(self.derivative, end, t, self.solver, self.system.norm)
        self.problem.work.backward.add(steps)
        return states[-1]

    def solve_with_quadrature(
        self, end: Tensor, t: Tensor, nodes: Nodes
    ) -> tuple[Tensor, list[Tensor]]:
        raise AssertionError("refused where the configuration is checked: no dense output")
