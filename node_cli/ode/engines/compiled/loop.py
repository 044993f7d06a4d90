"""A whole solve as a loop that torch.compile makes one graph of.

Everything here is traced: numbers are 0-dim tensors, decisions are ``torch.where``, and the steps
are those of ``native``, accepted and rejected alike.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from node_cli.ode.engines.compiled.tape import Tape, stages_per_step
from node_cli.ode.engines.step_control import (
    LARGEST_FACTOR,
    SAFETY,
    SMALLEST_ERROR,
    SMALLEST_FACTOR,
)
from node_cli.ode.norms import Norm
from node_cli.ode.solver import Keep, Solver
from node_cli.ode.tableau import Tableau

System = Callable[..., tuple[Tensor, list[Tensor]]]
"""A right-hand side that can be traced: (t, y, *inputs) -> (dy, what is kept of each stage)."""


class Numbers(NamedTuple):
    """Where a solve stands: what a loop is given, and leaves, as a vector (float64).

    ``last``: of all requested times. ``size``: of the next step. ``previous``: error of the last
    accepted step (PI controller). ``error`` and ``dt``: of the last attempt. ``attempts``: made in
    this call, of at most ``limit``. ``accepted``: steps of the whole solve. ``evaluated``: 1 if f
    is known at (t, y). ``learnt``: ``size`` after the first accepted step. ``finite``: 1 if y is.
    """

    t: float
    end: float
    last: float
    size: float = 0.0
    previous: float = 1.0
    error: float = 0.0
    dt: float = 0.0
    attempts: float = 0.0
    limit: float = 0.0
    accepted: float = 0.0
    evaluated: float = 0.0
    learnt: float = 0.0
    finite: float = 1.0


def solve_loop(
    system: System,
    solver: Solver,
    norm: Norm,
    keep: Keep,
    longest: Callable[..., Tensor] | None = None,
    *,
    start: bool,
    choose: bool,
) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """(numbers, y, k, tape, *inputs) -> (numbers, y, k): steps until the end of an interval.

    Ends earlier after ``limit`` attempts, where the tape is full, or where no further attempt makes
    sense; the numbers tell. ``start``: f is evaluated first. ``choose``: a first size is found.
    ``longest``: (t, *inputs) -> how long a step may be, and the first one is.
    """
    tableau = solver.tableau
    shared = tableau.first_same_as_last
    stride = stages_per_step(tableau)

    def solve(
        numbers: Tensor, y: Tensor, k: Tensor, tape: Tape | None, *inputs: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Clones, since what enters a loop must not share memory.
        begin, end, last, size, previous, error, dt, attempts, limit, accepted, *others = (
            x.clone() for x in numbers.unbind()
        )
        evaluated, learnt, _ = others
        direction = torch.sign(end - begin)

        def record(row: Tensor, **values: Tensor) -> None:
            if tape is not None:
                tape.record(row, **values)

        def record_stage(row: Tensor, saved: list[Tensor]) -> None:
            if tape is not None:
                tape.record_stage(row, saved)

        def first_stage(t: Tensor, y: Tensor, k: Tensor, row: Tensor, needed: Tensor) -> Tensor:
            """f(t, y), evaluated where it is needed: a loop of one turn or none."""

            def evaluate(go: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
                k, saved = system(t.to(y.dtype), y, *inputs)
                record_stage(row * stride, saved)
                record(row, times=t, states=y, slopes=k)
                return torch.zeros_like(go), k.clone()

            found: Tensor
            _, found = torch.while_loop(lambda go, _: go > 0, evaluate, (needed.long(), k))
            return found

        if start:
            k = first_stage(begin, y, k, accepted.long(), evaluated == 0)
            evaluated = torch.ones_like(evaluated)
        if choose and longest:
            size = longest(begin, *inputs)
        elif choose:
            size = first_size(system, begin, direction, y, k, solver, norm, inputs)

        def goes_on(
            t: Tensor, size: Tensor, error: Tensor, attempts: Tensor, accepted: Tensor, *_: Tensor
        ) -> Tensor:
            room = attempts < limit
            if tape is not None:
                room = room & (accepted < tape.rows)
            if not tableau.adaptive:
                return room
            moves = (t + direction * size != t) & size.isfinite()
            return room & moves & (t != end) & ~error.isnan()

        def attempt(
            t: Tensor,
            size: Tensor,
            error: Tensor,
            attempts: Tensor,
            accepted: Tensor,
            dt: Tensor,
            previous: Tensor,
            evaluated: Tensor,
            learnt: Tensor,
            y: Tensor,
            k: Tensor,
        ) -> tuple[Tensor, ...]:
            row = accepted.long()
            if not shared:
                k = first_stage(t, y, k, row, evaluated == 0)
            if tableau.adaptive:
                if longest:
                    size = torch.minimum(size, longest(t, *inputs))
                t1 = t + direction * size
                lands = (t1 - end) * direction >= 0
                t1 = torch.where(lands, end, t1)
            else:
                within = begin + (end - begin) * ((attempts + 1) / limit)
                t1 = torch.where(attempts + 1 == limit, end, within)
            dt = t1 - t
            times = stage_times(tableau, t, t1, t, y.dtype)
            h = dt.to(y.dtype)
            slopes, state = [k], y
            for i in range(1, tableau.stages):
                state = weighted(y, tableau.a[i], slopes, h)
                slope, saved = system(times[i], state, *inputs)
                slopes.append(slope)
                record_stage(row * stride + i, saved)
            y1 = state if shared else weighted(y, tableau.b, slopes, h)
            # A rejected step is overwritten by the next attempt.
            record(row + 1, times=t1, states=y1)
            if shared:
                record(row + 1, slopes=slopes[-1])
            if tableau.mid is not None:
                record(row, middles=weighted(y, tableau.mid, slopes, h))
            accept = torch.ones_like(t, dtype=torch.bool)
            if tableau.adaptive:
                error = error_of(solver, norm, y, y1, slopes, h)
                accept = error <= 1
                factor, previous = factor_of(solver, error, previous)
                tried, size = size, torch.where(lands, dt.abs(), size) * factor
                natural = torch.where(
                    factor == LARGEST_FACTOR, math.inf, torch.maximum(tried, size)
                )
                record(row, sizes=natural)
                learnt = torch.where(accept & (accepted == 0), size, learnt)
            return (
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

        carried = (begin.clone(), size, error, attempts, accepted, dt, previous, evaluated, learnt)
        t, size, error, attempts, accepted, dt, previous, evaluated, learnt, y, k = (
            torch.while_loop(goes_on, attempt, (*carried, y, k))
        )
        if keep == "trajectory" and not shared:
            first_stage(t, y, k, accepted.long(), t == last)
        finite = y.isfinite().all().to(t.dtype)
        stands = (t, end, last, size, previous, error, dt, attempts, limit, accepted)  # as Numbers
        return torch.stack([*stands, evaluated, learnt, finite]), y, k

    return solve


def first_size(
    system: System,
    t: Tensor,
    direction: Tensor,
    y: Tensor,
    k: Tensor,
    solver: Solver,
    norm: Norm,
    inputs: Sequence[Tensor],
) -> Tensor:
    """As ``control.initial_step``."""
    assert solver.rtol is not None
    assert solver.atol is not None
    scale = y.abs() * solver.rtol + solver.atol
    d0, d1 = norm(y / scale).to(t.dtype), norm(k / scale).to(t.dtype)
    h0 = torch.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1)
    probe, _ = system(
        (t + direction * h0).to(y.dtype), y + (direction * h0).to(y.dtype) * k, *inputs
    )
    d2 = norm((probe - k) / scale).to(t.dtype) / h0
    flat = (d1 <= 1e-15) & (d2 <= 1e-15)
    steep = (0.01 / torch.fmax(d1, d2)) ** (1 / solver.tableau.order)
    return torch.minimum(100 * h0, torch.where(flat, torch.clamp(h0 * 1e-3, min=1e-6), steep))


def stage_times(
    tableau: Tableau, t0: Tensor, t1: Tensor, first: Tensor, dtype: torch.dtype
) -> list[Tensor]:
    """Where the stages of a step evaluate f, as ``native`` has them; the first one at ``first``."""
    times = [first.to(dtype)]
    for c in tableau.c[1:]:
        if c == 1 and tableau.adaptive:
            times.append(torch.nextafter(t1.to(dtype), t0.to(dtype)))
        else:
            times.append((t0 + c * (t1 - t0)).to(dtype))
    return times


def error_of(
    solver: Solver, norm: Norm, y: Tensor, y1: Tensor, slopes: list[Tensor], dt: Tensor
) -> Tensor:
    """The estimated local error in units of the tolerance, float64."""
    weights = solver.tableau.b_error
    assert weights is not None
    assert solver.rtol is not None
    assert solver.atol is not None
    error = weighted(torch.zeros_like(y), weights, slopes, dt)
    return norm(error / (solver.atol + solver.rtol * torch.maximum(y.abs(), y1.abs()))).double()


def factor_of(solver: Solver, error: Tensor, previous: Tensor) -> tuple[Tensor, Tensor]:
    """By which the step size changes, and the error to remember: as the classes of ``control``."""
    order = solver.tableau.order
    if solver.controller == "pi":
        error = torch.clamp(error, min=SMALLEST_ERROR)
        factor = SAFETY * error ** (-0.7 / order) * previous ** (0.4 / order)
        factor = torch.clamp(factor, SMALLEST_FACTOR, LARGEST_FACTOR)
        accepted = error <= 1
        factor = torch.where(accepted, factor, torch.clamp(factor, max=1.0))
        return factor, torch.where(accepted, error, previous)
    factor = torch.clamp(SAFETY * error ** (-1 / order), SMALLEST_FACTOR, LARGEST_FACTOR)
    return torch.where(error < 1, torch.clamp(factor, min=1.0), factor), previous


def weighted(y: Tensor, weights: Sequence[float], slopes: Sequence[Tensor], dt: Tensor) -> Tensor:
    """y plus dt times the weighted slopes."""
    for weight, k in zip(weights, slopes, strict=False):
        if weight:
            y = y + (dt * weight) * k
    return y
