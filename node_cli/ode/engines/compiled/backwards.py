"""Adjoint systems solved backwards by compiled loops."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from node_cli.ode.engines.compiled.captured import CapturedField
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.engines.compiled.solve import Loop, integrate
from node_cli.ode.engines.compiled.tape import Recording, Tape, pick
from node_cli.ode.engines.step_control import follows_forward_steps
from node_cli.ode.failures import told_of_backward_solve
from node_cli.ode.problem import AdjointSystem, Nodes, Problem, Products
from node_cli.ode.solver import Keep, Solver
from node_cli.ode.tableau import Tableau


class TracedEvaluation(NamedTuple):
    """``k`` = f(t, y), and what its product needs."""

    k: Tensor
    saved: list[Tensor]


@dataclass(frozen=True)
class TracedField:
    """f and its products in the body of a loop; see ``problem.Differentiable``. The twin of
    ``Linearised``."""

    captured: CapturedField
    parameters: Sequence[Tensor]
    with_parameters: bool

    def evaluate(self, t: Tensor, y: Tensor) -> TracedEvaluation:
        return TracedEvaluation(*self.captured.at(t, y, self.parameters))

    def products(self, evaluation: TracedEvaluation, v: Tensor) -> Products:
        constants = self.captured.constants(self.parameters)
        by_y, by_parameters = self.captured.pull(constants, evaluation.saved, v)
        return Products(by_y, None, by_parameters if self.with_parameters else [])


class BackwardSolve:
    """See ``engine.BackwardSolve``; by compiled loops. The twin of that of eager steps."""

    def __init__(
        self,
        problem: Problem,
        owner: CompiledField,
        system: AdjointSystem,
        solver: Solver,
        along: Recording | None,
    ) -> None:
        self.problem = problem
        self.owner = owner
        self.system = system
        self.solver = solver
        self.along = along
        self.captured = owner.captured(problem.autocast, problem.y0)

    @torch.no_grad()
    def solve(self, end: Tensor, t: Tensor) -> Tensor:
        return self._solve(end, t, "nothing")[0]

    @torch.no_grad()
    def solve_with_quadrature(
        self, end: Tensor, t: Tensor, nodes: Nodes
    ) -> tuple[Tensor, list[Tensor]]:
        state, adjoint = self._solve(end, t, "trajectory")
        assert adjoint
        return state, self._quadrature(adjoint, nodes) if self.problem.parameters else []

    def _solve(self, end: Tensor, t: Tensor, keep: Keep) -> tuple[Tensor, Recording | None]:
        memory = self.problem.first_steps.backward
        with told_of_backward_solve(self.system.state_in_words):
            states, steps, recording = integrate(self.loop(keep, self._inputs()), end, t, memory)
        self.problem.work.backward.add(steps)
        return states[-1], recording

    def _inputs(self) -> list[object]:
        """What the system reads: parameters of f, the tape of y, how many steps are on it."""
        inputs: list[object] = [*self.captured.parameters]
        if self.along:
            tape = self.along.tape
            inputs += [tape, tape.times.new_tensor(self.along.count)]
        return inputs

    def loop(self, keep: Keep, inputs: Sequence[object] = ()) -> Loop:
        """The backward solve as a loop, with what it keeps. Who calls it on their own gives the
        ``inputs`` then."""
        problem, owner, system, along = self.problem, self.owner, self.system, self.along
        forward = problem.solver.name if along else None  # what the tape has depends on it
        key = (system.name, forward, owner.key(problem.autocast, problem.y0))
        limited = along is not None and follows_forward_steps(problem.solver, self.solver)
        return Loop(
            owner,
            key,
            "the backward solve",
            self.captured,
            self._traced_system(),
            inputs,
            self.solver,
            system.norm,
            keep,
            [],
            self.count,
            _longest_step(len(self.captured.parameters)) if limited else None,
        )

    def _traced_system(self) -> Callable[..., tuple[Tensor, list[Tensor]]]:
        captured, system, is_along = self.captured, self.system, self.along is not None
        tableau = self.problem.solver.tableau
        count = len(captured.parameters)

        def traced(t: Tensor, state: Tensor, *inputs: Any) -> tuple[Tensor, list[Tensor]]:
            f = TracedField(captured, inputs[:count], system.with_parameters)
            values = []
            if is_along:
                tape, steps = inputs[count:]
                values = [tape.at(t.double(), steps, tableau)]
            return system.derivative(f, t, state, *values), []

        return traced

    def count(self, times: int) -> None:
        """Count evaluations of f, each with a product."""
        self.problem.work.evaluated(times, backward=True)
        self.problem.work.vjps_backward += times

    def _quadrature(self, adjoint: Recording, nodes: Nodes) -> list[Tensor]:
        problem, owner, y, f = self.problem, self.owner, self.along, self.captured
        assert y
        methods = problem.solver.tableau, self.solver.tableau
        key = ("quadrature", owner.key(problem.autocast, problem.y0), *methods)
        loop = partial(quadrature_loop, f, nodes, *methods)
        function = owner.function(key, problem.y0.device, loop, "the quadrature", f)
        self.count(len(nodes) * adjoint.count)
        steps = torch.tensor([adjoint.count, y.count], device=problem.y0.device)
        return list(function(steps, adjoint.tape, y.tape, *f.parameters))


def _longest_step(parameters: int) -> Callable[..., Tensor]:
    """(t, *inputs) -> how long a step may be; the tape comes after that many parameters."""

    def longest_step(t: Tensor, *inputs: Any) -> Tensor:
        tape, steps = inputs[parameters:]
        longest: Tensor = tape.longest_step(t, steps)
        return longest

    return longest_step


def quadrature_loop(
    f: CapturedField, nodes: Nodes, forward: Tableau, backward: Tableau
) -> Callable[..., tuple[Tensor, ...]]:
    """(steps, tape of lambda, tape of y, *parameters) -> -int lambda^T df/dtheta dt.

    By Gauss quadrature with these nodes and weights on [0, 1] over each step of lambda. ``steps``:
    (2,), int64: those on each of the tapes, which ``backward`` and ``forward`` made. The twin of
    ``eager.backwards``' ``_quadrature``.
    """

    def quadrature(
        steps: Tensor, adjoint: Tape, y: Tape, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        count, steps_of_y = (x.clone() for x in steps.unbind())

        def add(row: Tensor, *gradient: Tensor) -> tuple[Tensor, ...]:
            constants = f.constants(parameters)
            start, end = pick(adjoint.times, row), pick(adjoint.times, row + 1)
            for fraction, weight in nodes:
                s = start + fraction * (end - start)
                v = adjoint.within(row, fraction, backward)
                v = (-weight * (end - start)).to(v.dtype) * v
                _, saved = f.at(s.to(v.dtype), y.at(s, steps_of_y, forward), parameters)
                _, found = f.pull(constants, saved, v)
                gradient = tuple(a + b for a, b in zip(gradient, found, strict=True))
            return row + 1, *gradient

        zeros = [torch.zeros_like(parameters[i]) for i in f.trained]
        zero = torch.zeros_like(count)
        _, *found = torch.while_loop(lambda row, *_: row < count, add, (zero, *zeros))
        return tuple(found)

    return quadrature
