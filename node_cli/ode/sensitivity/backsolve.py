"""Optimise, then discretise: the adjoint ODE solved backwards together with the state."""

from dataclasses import dataclass

from torch import Tensor

from node_cli.ode.drift import Unit
from node_cli.ode.problem import AdjointSystem, Differentiable, Problem
from node_cli.ode.sensitivity.continuous import (
    BackwardsFrom,
    Continuous,
    Crossed,
    Layout,
    Posed,
    backward_solver,
)
from node_cli.ode.sensitivity.methods import NormName
from node_cli.ode.solver import Solver


@dataclass(frozen=True)
class Backsolve(Continuous):
    """The adjoint method of Chen et al. (2018): y is solved again, backwards, beside its adjoint.

    To the equations of ``integrate_adjoint`` comes dy/dt = f. ``norm="full"`` controls the backward
    step size by the largest RMS norm among y, lambda and each parameter's g; ``"seminorm"`` leaves
    g out, which does not feed back into the solution. ``solver`` is the backward solver, by default
    the forward one. Its steps are those of torchdiffeq's odeint_adjoint, and as there, tolerances
    are those of y: where the loss is a mean, lambda may be far below atol, and its error not
    controlled.

    Memory: y at the requested times only. Cost: one evaluation of f and one VJP per backward stage.
    The gradient is that of the ODE, not of the numerical solution: it differs by the order of the
    tolerance. Do not use it where y cannot be recovered backwards (strongly contracting f): the
    gradient is wrong there. So y is compared, where each interval between requested times begins,
    with that of the forward solve (``Drift``): there is a warning where the two are far apart, and
    SolveFailed where that is more than ``max_drift`` tolerances.

    Sources: Chen, Rubanova, Bettencourt and Duvenaud, "Neural ordinary differential equations",
    NeurIPS 2018, algorithm 1; Kidger, Chen and Lyons, "Hey, that's not an ODE", ICML 2021, for the
    seminorm.
    """

    name = "backsolve"

    norm: NormName = "full"
    solver: Solver | None = None
    max_drift: float | None = None

    def posed(self, problem: Problem, y: Tensor) -> Posed:
        """See ``Continuous.posed``."""
        layout = Layout([y, y], problem.parameters)

        def derivative(f: Differentiable, t: Tensor, state: Tensor) -> Tensor:
            y, adjoint = layout.states(state)
            evaluation = f.evaluate(t, y.detach())
            product = f.products(evaluation, -adjoint)
            return layout.join([evaluation.k.detach(), product.y, *product.parameters])

        system = AdjointSystem(
            f"backsolve {self.norm}",
            derivative,
            state_in_words="(y, adjoint, gradient)",
            norm=layout.norm(self.norm, problem.shared),
        )

        def cross(
            solve: BackwardsFrom, y: Tensor, adjoint: Tensor, by_parameters: list[Tensor]
        ) -> Crossed:
            start, _ = solve(layout.join([y, adjoint, *by_parameters]))
            solved, adjoint, *by_parameters = layout.split(start)
            return Crossed(adjoint, by_parameters, solved)

        solver = backward_solver(problem, self.solver)
        unit = Unit(problem.solver, solver)
        return Posed(system, solver, cross, drift=unit, max_drift=self.max_drift)
