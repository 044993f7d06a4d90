"""The engine that runs whole solves as compiled loops."""

from typing import Any

from torch import Tensor

from node_cli.ode.engines.compiled.adjoint import StepRecord
from node_cli.ode.engines.compiled.backwards import BackwardSolve
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.engines.compiled.solve import Loop, integrate
from node_cli.ode.engines.compiled.tape import Recording
from node_cli.ode.norms import rms_norm
from node_cli.ode.problem import AdjointSystem, Problem
from node_cli.ode.solver import Keep, Solver


class Compiled:
    """A solve is one compiled loop, and so is its adjoint; see ``engine.Engine``.

    Cost: ten seconds and more for each new function and shape of y; then 10 us and less for each
    evaluation of a small f. It knows nothing of dL/dt.
    """

    differentiates: frozenset[Keep] = frozenset()

    def __init__(self, problem: Problem, owner: CompiledField) -> None:
        self.problem = problem
        self.owner = owner

    def solve(self, keep: Keep) -> tuple[Tensor, Any]:
        problem = self.problem
        memory = problem.first_steps.forward
        y, steps, recording = integrate(self.loop(keep), problem.y0, problem.t, memory)
        problem.work.forward.add(steps)
        if recording is None or keep == "trajectory":
            return y, recording
        return y, StepRecord(problem, self.owner, recording, keep)

    def loop(self, keep: Keep) -> Loop:
        """The forward solve as a loop, with what it keeps."""
        problem, owner = self.problem, self.owner
        f = owner.captured(problem.autocast, problem.y0)
        return Loop(
            owner,
            ("f", owner.key(problem.autocast, problem.y0)),
            "the forward solve",
            f,
            lambda t, y, *parameters: f.at(t, y, parameters),
            f.parameters,
            problem.solver,
            rms_norm,
            keep,
            f.saved,
            problem.work.evaluated,
        )

    def backwards(
        self, system: AdjointSystem, solver: Solver, along: Recording | None
    ) -> BackwardSolve:
        return BackwardSolve(self.problem, self.owner, system, solver, along)
