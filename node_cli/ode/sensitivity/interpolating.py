"""The adjoint ODE solved backwards alone, y(t) taken from the forward solve's dense output."""

from dataclasses import dataclass

from torch import Tensor

from node_cli.ode.problem import AdjointSystem, Differentiable, Problem
from node_cli.ode.sensitivity.continuous import (
    BackwardsFrom,
    Continuous,
    Crossed,
    Layout,
    Posed,
    backward_solver,
    relative_to_lambda,
)
from node_cli.ode.sensitivity.methods import NormName
from node_cli.ode.solver import Solver


@dataclass(frozen=True)
class Interpolating(Continuous):
    """The equations of ``integrate_adjoint``, y(t) interpolated: only lambda and g go backwards.

    Unlike ``Backsolve`` it does not recover y backwards, so a contracting f does it no harm.
    ``norm="seminorm"``: lambda alone controls the backward step size; ``"full"``: each parameter's
    g too, which as a sum over the batch may ask for many more steps. Either way tolerances are
    relative to lambda (``relative_to_lambda``), and steps no longer than those natural to the
    forward solve (``follows_forward_steps``). ``solver`` is the backward solver, by default the
    forward one, which has to be of the native engine. The gradient converges to that of the ODE
    with the tolerances as fast as the numerical solution does, since the dense output has its order
    (``DenseOutput``).

    Memory: 2 (cubic dense output), 3 (dopri5, tsit5) or 6 (dopri8) states per accepted forward
    step. Cost: one evaluation of f and one VJP per backward stage; with dopri8 four evaluations
    more for each accepted forward step.

    Source: Rackauckas et al., "Universal differential equations for scientific machine learning",
    arXiv:2001.04385, supplement (InterpolatingAdjoint).
    """

    name = "interpolating"

    norm: NormName = "seminorm"
    solver: Solver | None = None

    def posed(self, problem: Problem, y: Tensor) -> Posed:
        """See ``Continuous.posed``."""
        layout = Layout([y], problem.parameters)

        def derivative(f: Differentiable, t: Tensor, state: Tensor, y: Tensor) -> Tensor:
            (adjoint,) = layout.states(state)
            product = f.products(f.evaluate(t, y), -adjoint)
            return layout.join([product.y, *product.parameters])

        system = AdjointSystem(
            f"interpolating {self.norm}",
            derivative,
            state_in_words="(adjoint, gradient), relative to the adjoint",
            norm=layout.norm(self.norm, problem.shared),
        )

        def cross(
            solve: BackwardsFrom, y: Tensor, adjoint: Tensor, by_parameters: list[Tensor]
        ) -> Crossed:
            start, _ = solve(layout.join([adjoint, *by_parameters]))
            adjoint, *by_parameters = layout.split(start)
            return Crossed(adjoint, by_parameters)

        solver = backward_solver(problem, self.solver)
        return Posed(system, solver, relative_to_lambda(cross, problem.shared))
