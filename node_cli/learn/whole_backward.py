"""The backward pass of an ODE block within the graph of a training step."""

from collections.abc import Hashable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from node_cli.ode.engines.compiled.adjoint import adjoint_loop, count_adjoint
from node_cli.ode.engines.compiled.backwards import BackwardSolve, quadrature_loop
from node_cli.ode.engines.compiled.captured import CapturedField
from node_cli.ode.engines.compiled.carried import Numbers
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.engines.compiled.function import Function
from node_cli.ode.engines.compiled.solve import LoopSolve
from node_cli.ode.engines.compiled.tape import Tape
from node_cli.ode.problem import Problem
from node_cli.ode.sensitivity.continuous import Posed
from node_cli.ode.solver import Keep
from node_cli.ode.work import Steps

COUNT = len(Numbers._fields)
T, END, LIMIT, ACCEPTED, FINITE = map(
    Numbers._fields.index, ("t", "end", "limit", "accepted", "finite")
)


def is_complete(now: Numbers) -> bool:
    """Whether a solve has come to its end."""
    return now.t == now.end and bool(now.finite)


class Backward(Protocol):
    """The backward pass of one training step.

    ``key``: of what its graph depends on. ``numbers``: what the graph is given. ``tape``: what its
    solve writes to.
    """

    key: Hashable
    numbers: Sequence[float]
    tape: Tape | None

    def traced(self) -> Function:
        """(forward numbers, y0, y1, dL/dy1, forward tape, numbers, tape, parameters of f) ->
        (dL/dy0, dL/dtheta, further numbers)."""

    def finished(self, accepted: int, found: Sequence[float]) -> bool:
        """Count what the pass took; False, and nothing done, where it has not come to its end.

        ``accepted``: forward steps. ``found``: the further numbers. Raises ``SolveFailed``.
        """


class OverSteps:
    """The adjoint of the steps."""

    numbers: Sequence[float] = ()
    tape: Tape | None = None

    def __init__(self, problem: Problem, f: CapturedField, keeps: Keep) -> None:
        self.problem = problem
        self.f = f
        self.keeps = keeps
        self.key: Hashable = "the steps"

    def traced(self) -> Function:
        adjoint = adjoint_loop(self.f, self.problem.solver.tableau)

        def gradient(
            forward: Tensor,
            y0: Tensor,
            y1: Tensor,
            by_y1: Tensor,
            tape: Tape,
            numbers: Tensor,
            own_tape: Tape | None,
            parameters: Sequence[Tensor],
        ) -> tuple[Tensor, list[Tensor], Tensor]:
            accepted = forward[ACCEPTED].long()
            steps = torch.stack([torch.zeros_like(accepted), accepted])
            by_y0, *by_parameters = adjoint(steps, by_y1, tape, *parameters)
            return by_y0, by_parameters, numbers

        return gradient

    def finished(self, accepted: int, found: Sequence[float]) -> bool:
        count_adjoint(self.problem, accepted, self.keeps)
        return True


class OverAdjoint:
    """An adjoint system, solved backwards along ``forward``, if that keeps its trajectory."""

    def __init__(
        self, problem: Problem, owner: CompiledField, posed: Posed, forward: LoopSolve
    ) -> None:
        """Raises ``SolveFailed`` where the budget does not allow the backward solve."""
        self.problem = problem
        self.posed = posed
        self.along = forward.recording
        self.backwards = BackwardSolve(problem, owner, posed.system, posed.solver, self.along)
        loop = self.backwards.loop("nothing" if posed.nodes is None else "trajectory")
        self.solve = LoopSolve(loop, problem.y0, problem.first_steps.backward)
        start, end = problem.t.tolist()
        self.solve.set_out([end, start], problem.y0)
        self.call = self.solve.enter(end, start)
        self.key: Hashable = ("adjoint", self.solve.key, self.call.evaluate, self.call.choose)
        self.numbers: Sequence[float] = self.call.numbers
        self.tape = self.solve.tape

    def traced(self) -> Function:
        posed, f, is_along = self.posed, self.backwards.captured, self.along is not None
        backward = self.solve.loop_of(self.call)
        methods = self.problem.solver.tableau, posed.solver.tableau
        quadrature = quadrature_loop(f, posed.nodes, *methods) if posed.nodes else None

        def gradient(
            forward: Tensor,
            y0: Tensor,
            y1: Tensor,
            by_y1: Tensor,
            tape: Tape | None,
            numbers: Tensor,
            own_tape: Tape | None,
            parameters: Sequence[Tensor],
        ) -> tuple[Tensor, list[Tensor], Tensor]:
            # No step where the forward solve has not come to its end.
            done = (forward[T] == forward[END]) & (forward[FINITE] == 1)
            is_limit = torch.arange(COUNT, device=numbers.device) == LIMIT
            numbers = torch.where(is_limit & ~done, 0.0, numbers)
            found: list[Tensor] = []

            def solve(end: Tensor) -> tuple[Tensor, list[Tensor]]:
                along = [tape, forward[ACCEPTED].clone()] if is_along else []
                given = backward(numbers, end, torch.zeros_like(end), own_tape, *parameters, *along)
                now, start, _ = given
                found.append(now)
                if quadrature is None:
                    return start, []
                steps = torch.stack([now[ACCEPTED], forward[ACCEPTED]]).long()
                return start, list(quadrature(steps, own_tape, tape, *parameters))

            zeros = [torch.zeros_like(parameters[i]) for i in f.trained]
            crossed = posed.cross(solve, y1, by_y1, zeros)
            if posed.drift and crossed.y is not None:
                found.append(posed.drift.distance(crossed.y, y0).double().view(1))
            return crossed.adjoint, crossed.by_parameters, torch.cat(found)

        return gradient

    def finished(self, accepted: int, found: Sequence[float]) -> bool:
        now = Numbers(*found[:COUNT])
        if not is_complete(now):
            return False
        self.solve.leave(self.call, now)
        work = self.problem.work
        work.backward.add(Steps(self.solve.accepted, self.solve.rejected))
        if self.posed.nodes is not None:
            self.backwards.count(len(self.posed.nodes) * self.solve.accepted)
        if self.posed.drift:
            drift = self.posed.drifted(torch.tensor(found[COUNT:]), self.problem.t[:1].tolist())
            work.drift_backward = drift.largest([*found[COUNT:]])
        return True
