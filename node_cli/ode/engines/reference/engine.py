"""The engine that leaves the steps to torchdiffeq."""

import torch
from torch import Tensor

from node_cli.ode.engines.eager.backwards import Path
from node_cli.ode.engines.reference.backwards import BackwardSolve
from node_cli.ode.engines.reference.solve import integrate
from node_cli.ode.field import Field
from node_cli.ode.problem import AdjointSystem, Problem
from node_cli.ode.solver import Keep, Solver
from node_cli.ode.work import CountedField


class Reference:
    """Every solver of torchdiffeq; see ``engine.Engine``.

    It records nothing; ``stages`` are kept by autograd, which goes through the solver. Cost: 1.4 to
    2.8 times that of the evaluations of f alone; take it to compare with, or for its Adams and
    scipy solvers.
    """

    differentiates: frozenset[Keep] = frozenset({"stages"})

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def solve(self, keep: Keep) -> tuple[Tensor, None]:
        problem = self.problem
        if keep == "stages":
            assert problem.solver.name != "scipy", "its solution has no gradient"
            f = _counting_vjps(problem.counted())
            y, steps = integrate(f, problem.y0.clone(), problem.t, problem.solver, problem.norm)
        else:
            assert keep == "nothing", "refused where the configuration is checked"
            with torch.no_grad():
                y0 = problem.y0.clone()  # should f change it
                f = problem.counted()
                y, steps = integrate(f, y0, problem.t, problem.solver, problem.norm)
        problem.work.forward.add(steps)
        return y, None

    def backwards(self, system: AdjointSystem, solver: Solver, along: Path | None) -> BackwardSolve:
        return BackwardSolve(self.problem, system, solver, along)


def _counting_vjps(f: CountedField) -> Field:
    """f, whose products by autograd are counted in the work of f."""

    def count(_: Tensor) -> None:
        f.work.vjps_backward += 1

    def counted(t: Tensor, y: Tensor) -> Tensor:
        dy = f(t, y)
        if dy.requires_grad:
            dy.register_hook(count)
        return dy

    return counted
