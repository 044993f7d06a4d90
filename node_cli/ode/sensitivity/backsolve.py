"""Optimise, then discretise: the adjoint ODE solved backwards together with the state."""

from dataclasses import dataclass

from torch import Tensor

from node_cli.ode.sensitivity.continuous import (
    Backwards,
    Differentiable,
    Gradient,
    Layout,
    NormName,
    sweep,
)
from node_cli.ode.sensitivity.method import CustomGradient, Gradients, Problem
from node_cli.ode.solver import Solver


@dataclass(frozen=True)
class Backsolve(CustomGradient):
    """The adjoint method of Chen et al. (2018): y is solved again, backwards, beside its adjoint.

    To the equations of ``sweep`` comes dy/dt = f. ``norm="full"`` controls the backward step size
    by the largest RMS norm among y, lambda and each parameter's g; ``"seminorm"`` leaves g out,
    which does not feed back into the solution. ``solver`` is the backward solver, by default the
    forward one. The same steps as torchdiffeq's odeint_adjoint, and as there, tolerances are those
    of y: where the loss is a mean, lambda may be far below atol, and its error not controlled.

    Memory: y at the requested times only. Cost: one evaluation of f and one VJP per backward stage.
    The gradient is that of the ODE, not of the numerical solution: it differs by the order of the
    tolerance, and is wrong where y cannot be recovered backwards (strongly contracting f).

    Sources: Chen, Rubanova, Bettencourt and Duvenaud, "Neural ordinary differential equations",
    NeurIPS 2018, algorithm 1; Kidger, Chen and Lyons, "Hey, that's not an ODE", ICML 2021, for the
    seminorm.
    """

    norm: NormName = "full"
    solver: Solver | None = None

    def forward(self, problem: Problem) -> tuple[Tensor, None]:
        return problem.solution(), None

    def gradient(self, problem: Problem, kept: None, y: Tensor, grad_y: Tensor) -> Gradients:
        layout = Layout([y[0], y[0]], problem.parameters)
        norm = layout.norm(self.norm)

        def system(f: Differentiable, t: Tensor, state: Tensor) -> Tensor:
            y, adjoint = layout.states(state)
            stage = f.evaluate(t, y.detach())
            product = f.products(stage, -adjoint)
            return layout.join([stage.k.detach(), product.y, *product.parameters])

        solver = problem.backward_solver(self.solver)
        backwards = Backwards(
            f"backsolve {self.norm}",
            system,
            problem,
            solver,
            norm,
            state="(y, adjoint, gradient)",
        )

        def cross(i: int, adjoint: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
            end = layout.join([y[i], adjoint, *gradient])
            _, adjoint, *gradient = layout.split(backwards.solve(end, problem.t[[i, i - 1]]))
            return adjoint, gradient

        return sweep(problem, y, grad_y, cross)
