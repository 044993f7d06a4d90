"""The adjoint solved backwards alone, dL/dtheta by Gauss quadrature over its steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.ode.sensitivity.adjoint import Backwards, Differentiable, Gradient, sweep
from node_cli.ode.sensitivity.custom import CustomGradient, Gradients, Problem
from node_cli.ode.solver import Solver
from node_cli.ode.trajectory import Trajectory

# Gauss-Legendre nodes and weights on [0, 1], by the order of the interpolants: as exact as they.
GAUSS = {
    3: ((0.2113248654051871, 0.5), (0.7886751345948129, 0.5)),
    4: ((0.1127016653792583, 5 / 18), (0.5, 4 / 9), (0.8872983346207417, 5 / 18)),
}


@dataclass(frozen=True)
class Gauss(CustomGradient):
    """The equations of ``sweep``: lambda alone is the backward state, y(t) interpolated.

    dL/dtheta = -int lambda^T df/dtheta dt is a quadrature, not an ODE: over each accepted backward
    step by Gauss-Legendre with two or three nodes, y and lambda there from the dense outputs of
    both solves. So the parameters, however many, never enter the step control or its arithmetic.
    ``solver`` is the backward solver, by default the forward one; both have to be of the native
    engine. The gradient converges to that of the ODE with the tolerances, as fast as the dense
    outputs do: at order 4 with dopri5 and tsit5, 3 with every other method (``Trajectory``).

    Memory: 4 or 5 states per accepted forward step, and as many per backward step between two
    requested times. Cost: one evaluation of f and one VJP (by y alone) per backward stage, and as
    many (by theta alone) per node: cheaper than ``Interpolating`` where f has many parameters, and
    dearer where it has few and steps are short.

    Source: Norcliffe and Deisenroth, "Faster training of neural ODEs using Gauss-Legendre
    quadrature", TMLR 2023, algorithm 1.
    """

    solver: Solver | None = None

    def forward(self, problem: Problem, y0: Tensor) -> tuple[Tensor, Trajectory]:
        return problem.solve_densely(y0)

    def gradient(self, problem: Problem, kept: Trajectory, y: Tensor, grad_y: Tensor) -> Gradients:
        solver = problem.backward_solver(self.solver)

        def system(f: Differentiable, t: Tensor, adjoint: Tensor, y: Tensor) -> Tensor:
            return f.products(f.evaluate(t, y), -adjoint).y

        backwards = Backwards(
            "gauss",
            system,
            problem,
            solver,
            with_parameters=False,
            given=kept.rows,
            dense=True,
        )
        stepper = backwards.stepper
        assert stepper is not None, "refused when the configuration is checked"

        def cross(i: int, adjoint: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
            back = Trajectory(solver.tableau)
            start = backwards.solve(adjoint, problem.t[[i, i - 1]], back.record)
            back.finish(stepper)
            if problem.parameters:
                _quadrature(problem, kept, back, gradient)
            return start, gradient

        return sweep(problem, y, grad_y, cross)


def _quadrature(problem: Problem, y: Trajectory, adjoint: Trajectory, gradient: Gradient) -> None:
    """Add -int lambda^T df/dtheta dt over the backward steps to ``gradient``, in place."""
    f = problem.linearised()
    nodes = GAUSS[min(y.order, adjoint.order)]
    for step in adjoint.steps:
        for fraction, weight in nodes:
            s = step.t0 + fraction * step.dt
            v = adjoint.at(s).mul_(-weight * step.dt)
            stage = f.evaluate(torch.tensor(s, dtype=v.dtype, device=v.device), y.at(s))
            torch._foreach_add_(gradient, list(f.parameter_products(stage, v)))
