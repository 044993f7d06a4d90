"""The adjoint ODE solved backwards alone, y(t) taken from the forward solve's dense output."""

from dataclasses import dataclass

from torch import Tensor

from node_cli.ode.sensitivity.continuous import (
    Backwards,
    Differentiable,
    Gradient,
    Layout,
    NormName,
    relative_to_lambda,
    sweep,
)
from node_cli.ode.sensitivity.method import CustomGradient, DenseOutput, Gradients, Problem
from node_cli.ode.solver import Solver


@dataclass(frozen=True)
class Interpolating(CustomGradient):
    """The equations of ``sweep``, y(t) interpolated: only lambda and g go backwards.

    Unlike ``Backsolve`` it does not recover y backwards, so a contracting f does it no harm.
    ``norm="seminorm"``: lambda alone controls the backward step size; ``"full"``: each parameter's
    g too, which as a sum over the batch may ask for many more steps. Either way tolerances are
    relative to lambda (``relative_to_lambda``), and steps no longer than those natural to the
    forward solve (``Backwards``). ``solver`` is the backward solver, by default the forward one;
    that has to be of the native engine. The gradient converges to that of the ODE with the
    tolerances, as fast as the dense output does: at order 4 with dopri5 and tsit5, 3 with every
    other method (``Trajectory``); it limits a method of high order that takes few long steps
    (dopri8).

    Memory: 4 or 5 states per accepted forward step. Cost: one evaluation of f and one VJP per
    backward stage.

    Source: Rackauckas et al., "Universal differential equations for scientific machine learning",
    arXiv:2001.04385, supplement (InterpolatingAdjoint).
    """

    norm: NormName = "seminorm"
    solver: Solver | None = None

    def forward(self, problem: Problem) -> tuple[Tensor, DenseOutput]:
        return problem.solve_densely()

    def gradient(self, problem: Problem, kept: DenseOutput, y: Tensor, grad_y: Tensor) -> Gradients:
        layout = Layout([y[0]], problem.parameters)
        norm = layout.norm(self.norm)

        def system(f: Differentiable, t: Tensor, state: Tensor, y: Tensor) -> Tensor:
            (adjoint,) = layout.states(state)
            product = f.products(f.evaluate(t, y), -adjoint)
            return layout.join([product.y, *product.parameters])

        solver = problem.backward_solver(self.solver)
        backwards = Backwards(
            f"interpolating {self.norm}",
            system,
            problem,
            solver,
            norm,
            state="(adjoint, gradient), relative to the adjoint",
            path=kept,
        )

        def cross(i: int, adjoint: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
            end = layout.join([adjoint, *gradient])
            adjoint, *gradient = layout.split(backwards.solve(end, problem.t[[i, i - 1]]))
            return adjoint, gradient

        return sweep(problem, y, grad_y, relative_to_lambda(cross))
