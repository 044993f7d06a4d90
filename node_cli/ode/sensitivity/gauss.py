"""The adjoint solved backwards alone, dL/dtheta by Gauss quadrature over its steps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.ode.engines.compiled.adjoint import quadrature_loop
from node_cli.ode.engines.compiled.solve import Recorded
from node_cli.ode.engines.eager.dense_output import Trajectory
from node_cli.ode.sensitivity.continuous import (
    Backwards,
    Differentiable,
    Gradient,
    relative_to_lambda,
    sweep,
)
from node_cli.ode.sensitivity.method import CustomGradient, DenseOutput, Gradients, Problem
from node_cli.ode.solver import Solver

# Gauss-Legendre nodes and weights on [0, 1], by the order of the interpolants: as exact as they.
Nodes = tuple[tuple[float, float], ...]
GAUSS: dict[int, Nodes] = {
    3: ((0.2113248654051871, 0.5), (0.7886751345948129, 0.5)),
    4: ((0.1127016653792583, 5 / 18), (0.5, 4 / 9), (0.8872983346207417, 5 / 18)),
}


@dataclass(frozen=True)
class Gauss(CustomGradient):
    """The equations of ``sweep``: lambda alone is the backward state, y(t) interpolated.

    dL/dtheta = -int lambda^T df/dtheta dt is a quadrature, not an ODE: over each accepted backward
    step by Gauss-Legendre with two or three nodes, y and lambda there from the dense outputs of
    both solves. So the parameters, however many, never enter the step control or its arithmetic.
    Tolerances are relative to lambda (``relative_to_lambda``), and steps no longer than those
    natural to the forward solve (``Backwards``), which is what bounds the error of the quadrature.
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

    def forward(self, problem: Problem) -> tuple[Tensor, DenseOutput]:
        return problem.solve_densely()

    def gradient(self, problem: Problem, kept: DenseOutput, y: Tensor, grad_y: Tensor) -> Gradients:
        def system(f: Differentiable, t: Tensor, adjoint: Tensor, y: Tensor) -> Tensor:
            return f.products(f.evaluate(t, y), -adjoint).y

        solver = problem.backward_solver(self.solver)
        assert solver.engine == "native", "refused when the configuration is checked"
        backwards = Backwards(
            "gauss",
            system,
            problem,
            solver,
            state="adjoint, relative to its end",
            with_parameters=False,
            path=kept,
        )

        def cross(i: int, adjoint: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
            start, back = backwards.solve_densely(adjoint, problem.t[[i, i - 1]])
            if problem.parameters:
                found = _quadrature(problem, kept, back)
                torch._foreach_add_(gradient, found)
            return start, gradient

        return sweep(problem, y, grad_y, relative_to_lambda(cross))


def _quadrature(problem: Problem, y: DenseOutput, adjoint: DenseOutput) -> Gradient:
    """-int lambda^T df/dtheta dt over the backward steps."""
    nodes = GAUSS[min(y.order, adjoint.order)]
    if isinstance(y, Recorded):
        assert isinstance(adjoint, Recorded)
        return _quadrature_in_loop(problem, y, adjoint, nodes)
    assert isinstance(adjoint, Trajectory)
    f = problem.linearised()
    gradient = [torch.zeros_like(p) for p in problem.parameters]
    for step in adjoint.steps:
        for fraction, weight in nodes:
            s = step.t0 + fraction * step.dt
            v = adjoint.at(s).mul_(-weight * step.dt)
            stage = f.evaluate(torch.tensor(s, dtype=v.dtype, device=v.device), y.at(s))
            torch._foreach_add_(gradient, list(f.parameter_products(stage, v)))
    return gradient


@torch.no_grad()
def _quadrature_in_loop(problem: Problem, y: Recorded, adjoint: Recorded, nodes: Nodes) -> Gradient:
    owner, f = y.owner, problem.captured
    key = ("quadrature", owner.key(problem.autocast, problem.y0), y.order, adjoint.order)
    function = owner.function(key, problem.y0.device, lambda: quadrature_loop(f, nodes))
    evaluations = len(nodes) * adjoint.count
    problem.work.evaluated(evaluations, backward=True)
    problem.work.vjps_backward += evaluations
    steps = torch.tensor([adjoint.count, y.count], device=problem.y0.device)
    return list(function(steps, adjoint.tape, y.tape, *f.parameters))
