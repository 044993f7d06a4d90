"""The engine that computes steps one by one."""

from typing import Any

import torch
from torch import Tensor

from node_cli.ode.engines.eager.adjoint import KeptStages, KeptStates
from node_cli.ode.engines.eager.backwards import BackwardSolve
from node_cli.ode.engines.eager.dense_output import DenseOutput
from node_cli.ode.engines.eager.layers import evaluated
from node_cli.ode.engines.eager.penalised import PenalisedSteps
from node_cli.ode.engines.eager.solve import integrate
from node_cli.ode.engines.eager.step import Evaluate, Stepper
from node_cli.ode.field import Field
from node_cli.ode.problem import AdjointSystem, Problem
from node_cli.ode.solver import Keep, Solver


class Eager:
    """Explicit Runge-Kutta steps, each operation a call from Python; see ``engine.Engine``.

    Cost: about 60 us for each evaluation of a small f, most of it calls.
    """

    differentiates: frozenset[Keep] = frozenset()

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @torch.no_grad()
    def solve(self, keep: Keep) -> tuple[Tensor, Any]:
        problem = self.problem
        if problem.penalties:
            steps = PenalisedSteps(problem, keep)
            f = steps.f
            evaluate = f.evaluate if keep == "stages" else None
            stepper = self._stepper(f.f, evaluate, with_last=True)
            return self._solve(stepper, steps.record), steps
        match keep:
            case "nothing":
                return self._solve(self._stepper(evaluated(problem))), None
            case "stages":
                stages = KeptStages(problem)
                stepper = self._stepper(stages.f.f, stages.f.evaluate)
                return self._solve(stepper, stages.record), stages
            case "states":
                states = KeptStates(problem)
                stepper = self._stepper(evaluated(problem))
                return self._solve(stepper, states.record), states
            case "trajectory":
                stepper = self._stepper(evaluated(problem))
                dense = DenseOutput(stepper)
                y = self._solve(stepper, dense.record)
                dense.finish()
                return y, dense

    def _stepper(
        self, f: Field, evaluate: Evaluate | None = None, *, with_last: bool = False
    ) -> Stepper:
        problem = self.problem
        return Stepper(f, problem.solver, problem.norm, evaluate, with_last=with_last)

    def _solve(self, stepper: Stepper, on_accept: Any = lambda *_: None) -> Tensor:
        problem = self.problem
        memory = problem.first_steps.forward
        y, steps = integrate(
            stepper,
            problem.y0.detach().clone(),  # should f change it
            problem.t,
            problem.solver,
            problem.norm,
            on_accept=on_accept,
            memory=memory,
        )
        problem.work.forward.add(steps)
        return y

    def backwards(
        self, system: AdjointSystem, solver: Solver, along: DenseOutput | None
    ) -> BackwardSolve:
        return BackwardSolve(self.problem, system, solver, along)
