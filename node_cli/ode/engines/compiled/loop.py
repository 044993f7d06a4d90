"""A whole solve as a loop that torch.compile makes one graph of.

Everything here is traced: numbers are 0-dim tensors, decisions are ``torch.where``, and the steps
are those of ``eager.solve``, accepted and rejected alike.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from node_cli.ode.engines.compiled.carried import State
from node_cli.ode.engines.compiled.error import error_of, nan_if_hopeless
from node_cli.ode.engines.compiled.tape import Tape, stages_per_step
from node_cli.ode.engines.first_size import heuristic_size
from node_cli.ode.engines.formulas import stage_times, traced_sum
from node_cli.ode.engines.step_control import (
    change_of_size,
    end_of_equal_step,
    landing,
    natural_size,
    usable,
)
from node_cli.ode.norms import Norm
from node_cli.ode.solver import Keep, Solver
from node_cli.ode.tableau import Tableau

System = Callable[..., tuple[Tensor, list[Tensor]]]
"""A right-hand side that can be traced: (t, y, *inputs) -> (dy, what is kept of each stage)."""


class Span(NamedTuple):
    """What stays the same during a call of a loop.

    ``begin``, ``end``: of the interval, or the rest of one. ``direction``: 1 or -1. ``limit``: of
    attempts. ``inputs``: what the system reads beside t and y.
    """

    begin: Tensor
    end: Tensor
    direction: Tensor
    limit: Tensor
    tape: Tape | None
    inputs: tuple[Any, ...]


@dataclass(frozen=True)
class SolveLoop:
    """What a loop computes; ``solve`` is to be compiled.

    ``system``: the right-hand side. ``norm``: of the state. ``keep``: what goes on the tape.
    ``longest``: (t, *inputs) -> how long a step may be, and the first one is. ``start``: f is
    evaluated first. ``choose``: a first size is found.
    """

    system: System
    solver: Solver
    norm: Norm
    keep: Keep
    longest: Callable[..., Tensor] | None
    start: bool
    choose: bool

    @property
    def tableau(self) -> Tableau:
        return self.solver.tableau

    def function(self) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
        """(numbers, y, k, tape, *inputs) -> (numbers, y, k): steps until the end of an interval.

        ``numbers``: see ``Numbers``. y, k: shaped like the state. Ends earlier after ``limit``
        attempts, where the tape is full, or where no further attempt makes sense; the numbers tell.
        """

        def solve(
            numbers: Tensor, y: Tensor, k: Tensor, tape: Tape | None, *inputs: Any
        ) -> tuple[Tensor, Tensor, Tensor]:
            # Clones, since what enters a loop must not share memory.
            begin, end, last, size, previous, error, dt, attempts, limit, accepted, *others = (
                x.clone() for x in numbers.unbind()
            )
            evaluated, learnt, _ = others
            span = Span(begin, end, torch.sign(end - begin), limit, tape, inputs)
            if self.start:
                k = self.evaluated(span, begin, y, accepted.long())
                evaluated = torch.ones_like(evaluated)
            if self.choose:
                size = self.chosen_size(span, y, k)
            carried = (begin.clone(), size, error, attempts, accepted, dt, previous, evaluated)
            state = State(
                *torch.while_loop(
                    lambda *carried: self.goes_on(span, State(*carried)),
                    lambda *carried: tuple(self.attempt(span, State(*carried))),
                    (*carried, learnt, y, k),
                )
            )
            if self.keep == "trajectory" and not self.tableau.first_same_as_last:
                row = state.accepted.long()
                self.first_stage(span, state.t, state.y, state.k, row, state.t == last)
            return self.numbers_of(state, span, last), state.y, state.k

        return solve

    def numbers_of(self, state: State, span: Span, last: Tensor) -> Tensor:
        """The vector of ``Numbers``."""
        finite = state.y.isfinite().all().to(state.t.dtype)
        t, size, error, attempts, accepted, dt, previous, evaluated, learnt, *_ = state
        numbers = (t, span.end, last, size, previous, error, dt, attempts, span.limit, accepted)
        return torch.stack([*numbers, evaluated, learnt, finite])

    def evaluated(self, span: Span, t: Tensor, y: Tensor, row: Tensor) -> Tensor:
        """f(t, y), the first stage of a step, recorded."""
        k, saved = self.system(t.to(y.dtype), y, *span.inputs)
        if span.tape is not None:
            span.tape.record_stage(row * stages_per_step(self.tableau), saved)
            span.tape.record(row, times=t, states=y, slopes=k)
        return k

    def first_stage(
        self, span: Span, t: Tensor, y: Tensor, k: Tensor, row: Tensor, needed: Tensor
    ) -> Tensor:
        """f(t, y), evaluated where it is needed, else k: a loop of one turn or none."""

        def evaluate(go: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
            return torch.zeros_like(go), self.evaluated(span, t, y, row).clone()

        found: Tensor
        _, found = torch.while_loop(lambda go, _: go > 0, evaluate, (needed.long(), k))
        return found

    def chosen_size(self, span: Span, y: Tensor, k: Tensor) -> Tensor:
        """Of the first step."""
        if self.longest:
            return self.longest(span.begin, *span.inputs)

        def f(t: Tensor, y: Tensor) -> Tensor:
            return self.system(t, y, *span.inputs)[0]

        return heuristic_size(f, self.norm, self.solver, span.begin, span.direction, y, k)[0]

    def goes_on(self, span: Span, state: State) -> Tensor:
        """Whether there is room, and sense, for another attempt."""
        room = state.attempts < span.limit
        if span.tape is not None:
            room = room & (state.accepted < span.tape.rows)
        if not self.tableau.adaptive:
            return room
        moves = (state.t + span.direction * state.size != state.t) & state.size.isfinite()
        return room & moves & (state.t != span.end) & ~state.error.isnan()

    def attempt(self, span: Span, state: State) -> State:
        """One step, accepted or not."""
        tableau, tape = self.tableau, span.tape
        t, size, error, attempts, accepted, dt, previous, evaluated, learnt, y, k = state
        shared = tableau.first_same_as_last
        row = accepted.long()
        if not shared:
            k = self.first_stage(span, t, y, k, row, evaluated == 0)
        size, t1, lands = self.next_step(span, state)
        dt = t1 - t
        slopes, y1 = self.stages(span, state, k, t1, row)
        if tape is not None:
            self.record(tape, row, t1, y1, slopes)
        accept = torch.ones_like(t, dtype=torch.bool)
        if tableau.adaptive:
            error = usable(error_of(self.solver, self.norm, y, y1, slopes, dt.to(y.dtype)))
            accept = error <= 1
            factor, previous = change_of_size(self.solver, error, previous)
            tried, size = size, torch.where(lands, dt.abs(), size) * factor
            error = nan_if_hopeless(error, y, k)
            if tape is not None:
                tape.record(row, sizes=natural_size(factor, tried, size))
            learnt = torch.where(accept & (accepted == 0), size, learnt)
        if tape is not None and tape.interiors is not None:
            self.record_interior(span, row, t, t1, y, slopes, accept)
        return State(
            torch.where(accept, t1, t),
            size.clone(),
            error.clone(),
            attempts + 1,
            accepted + accept.to(accepted.dtype),
            dt,
            previous.clone(),
            evaluated.clone() if shared else (~accept).to(evaluated.dtype),
            learnt.clone(),
            torch.where(accept, y1, y),
            torch.where(accept, slopes[-1] if shared else k, k),
        )

    def next_step(self, span: Span, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """The size to try, where the step then ends, and whether it lands on the end."""
        if not self.tableau.adaptive:
            t1 = end_of_equal_step(span.begin, span.end, state.attempts, span.limit)
            return state.size, t1, t1 == span.end
        size = state.size
        if self.longest:
            size = torch.minimum(size, self.longest(state.t, *span.inputs))
        t1, lands = landing(state.t + span.direction * size, span.end, span.direction)
        return size, t1, lands

    def stages(
        self, span: Span, state: State, first: Tensor, t1: Tensor, row: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """The slopes of a step, of which ``first`` is known, and y1."""
        tableau, y = self.tableau, state.y
        times = [t.to(y.dtype) for t in stage_times(tableau, state.t, t1, y.dtype)]
        h = (t1 - state.t).to(y.dtype)
        slopes, y1 = [first], y
        for i in range(1, tableau.stages):
            y1 = traced_sum(y, tableau.a[i], slopes, h)
            slope, saved = self.system(times[i - 1], y1, *span.inputs)
            slopes.append(slope)
            if span.tape is not None:
                span.tape.record_stage(row * stages_per_step(tableau) + i, saved)
        return slopes, y1 if tableau.first_same_as_last else traced_sum(y, tableau.b, slopes, h)

    def record(self, tape: Tape, row: Tensor, t1: Tensor, y1: Tensor, slopes: list[Tensor]) -> None:
        """Write a step on the tape; one that is rejected is overwritten by the next attempt."""
        tape.record(row + 1, times=t1, states=y1)
        if self.tableau.first_same_as_last:
            tape.record(row + 1, slopes=slopes[-1])

    def record_interior(
        self,
        span: Span,
        row: Tensor,
        t: Tensor,
        t1: Tensor,
        y: Tensor,
        slopes: list[Tensor],
        accept: Tensor,
    ) -> None:
        """Write y within a step from (t, y) on the tape; where that needs further stages, of a step
        that was accepted only: a loop of one turn or none. ``Stepper.further_slopes`` is the twin
        for eager steps."""
        tableau, tape = self.tableau, span.tape
        dt = (t1 - t).to(y.dtype)
        assert tape is not None

        def write(go: Tensor) -> tuple[Tensor]:
            known = [*slopes]
            for c, a in tableau.extra:
                at = (t + c * (t1 - t)).to(y.dtype)
                known.append(self.system(at, traced_sum(y, a, known, dt), *span.inputs)[0])
            values = [traced_sum(y, weights, known, dt) for _, weights in tableau.interior]
            tape.record(row, interiors=torch.stack(values))
            return (torch.zeros_like(go),)

        if tableau.extra:
            torch.while_loop(lambda go: go > 0, write, (accept.long(),))
        else:
            write(row)
