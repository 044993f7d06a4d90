"""The adjoint solved backwards alone, dL/dtheta by Gauss quadrature over its steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.ode.norms import rms_norm
from node_cli.ode.problem import AdjointSystem, Differentiable, Nodes, Problem
from node_cli.ode.sensitivity.continuous import (
    BackwardsFrom,
    Continuous,
    Crossed,
    Posed,
    backward_solver,
    relative_to_lambda,
)
from node_cli.ode.solver import Solver

# Gauss-Legendre nodes and weights on [0, 1], by the order of the dense output, for whose error the
# quadrature is exact enough.
GAUSS: dict[int, Nodes] = {
    3: ((0.2113248654051871, 0.5), (0.7886751345948129, 0.5)),
    4: ((0.1127016653792583, 5 / 18), (0.5, 4 / 9), (0.8872983346207417, 5 / 18)),
    7: (
        (0.06943184420297371, 0.17392742256872692),
        (0.33000947820757187, 0.32607257743127307),
        (0.6699905217924281, 0.32607257743127307),
        (0.9305681557970263, 0.17392742256872692),
    ),
}


@dataclass(frozen=True)
class Gauss(Continuous):
    """The equations of ``integrate_adjoint``, lambda alone the backward state, y(t) interpolated.

    dL/dtheta = -int lambda^T df/dtheta dt is a quadrature, not an ODE: over each accepted backward
    step by Gauss-Legendre with two to four nodes, y and lambda there from the dense outputs of
    both solves. So the parameters, however many, never enter the step control or its arithmetic.
    Tolerances are relative to lambda (``relative_to_lambda``), and steps no longer than those
    natural to the forward solve (``follows_forward_steps``), which bounds the error of the
    quadrature. ``solver`` is the backward solver, by default the forward one; both have to be of
    the native engine. The gradient converges to that of the ODE with the tolerances as fast as the
    numerical solution does, since dense output and quadrature have its order (``DenseOutput``).

    Memory: 2 (cubic dense output), 3 (dopri5, tsit5) or 6 (dopri8) states per accepted forward
    step; in compiled solves as many per backward step between two requested times. Cost: one
    evaluation of f and one VJP (by y alone) per backward stage, and as many (by theta alone) per
    node: cheaper than ``Interpolating`` where f has many parameters, and dearer where it has few
    and steps are short.
    With dopri8, four evaluations more for each accepted forward step, and four with a VJP (by y
    alone) for each backward one.

    Source: Norcliffe and Deisenroth, "Faster training of neural ODEs using Gauss-Legendre
    quadrature", TMLR 2023, algorithm 1.
    """

    name = "gauss"

    solver: Solver | None = None

    def posed(self, problem: Problem, y: Tensor) -> Posed:
        """See ``Continuous.posed``."""

        def derivative(f: Differentiable, t: Tensor, adjoint: Tensor, y: Tensor) -> Tensor:
            return f.products(f.evaluate(t, y), -adjoint).y

        system = AdjointSystem(
            "gauss",
            derivative,
            state_in_words="adjoint, relative to its end",
            norm=problem.shared or rms_norm,
            with_parameters=False,
        )
        solver = backward_solver(problem, self.solver)
        nodes = GAUSS[min(problem.solver.tableau.dense_order, solver.tableau.dense_order)]

        def cross(
            solve: BackwardsFrom, y: Tensor, adjoint: Tensor, by_parameters: list[Tensor]
        ) -> Crossed:
            adjoint, integral = solve(adjoint)
            if by_parameters:
                torch._foreach_add_(by_parameters, integral)
            return Crossed(adjoint, by_parameters)

        return Posed(system, solver, relative_to_lambda(cross, problem.shared), nodes)
