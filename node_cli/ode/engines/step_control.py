"""How large the first step is, and the next one; for eager steps and compiled loops alike.

Sizes and errors are Python floats in an eager solve, and 0-dim float64 tensors in a traced one.
"""

import math
from typing import Any, NamedTuple

from node_cli.ode.engines.formulas import Number, functions_for
from node_cli.ode.solver import DEFAULT_CONTROLLER, Solver
from node_cli.ode.solver import Controller as ControllerName

SAFETY = 0.9
SMALLEST_FACTOR = 0.2
LARGEST_FACTOR = 10.0
SMALLEST_ERROR = 1e-10  # a step without error says nothing about the next


class Controller(NamedTuple):
    """factor = 0.9 error^(-a/k) previous^(b/k), within [0.2, 10], at most 1 after a rejected step.

    k: the order of the method. Errors are in units of the tolerance, ``previous`` that of the last
    accepted step. ``error``: a. ``previous``: b. ``keeps``: the factor is at least 1 after an
    accepted step.
    """

    error: float
    previous: float = 0.0
    keeps: bool = False


# integral: that of torchdiffeq; Hairer, Norsett and Wanner, "Solving Ordinary Differential
# Equations I", 2nd ed., sec. II.4, eq. (4.13).
# pi: remembers how the error changes, so that it rejects a third of the steps that integral does,
# and its sizes are smoother where stability limits them; Hairer and Wanner, "Solving Ordinary
# Differential Equations II", 2nd ed., sec. IV.2, eq. (2.43c), with the exponents that took the
# fewest evaluations among those tried (benchmarks/step_control.py).
CONTROLLERS: dict[ControllerName, Controller] = {
    "integral": Controller(1.0, keeps=True),
    "pi": Controller(0.8, 0.3),
}


def change_of_size(solver: Solver, error: Number, previous: Number) -> tuple[Number, Number]:
    """The factor by which the step size changes, and the error to remember, 1 before the first
    step; by the controller of the solver. A step is accepted where its error is at most 1."""
    rule = CONTROLLERS[solver.controller or DEFAULT_CONTROLLER]
    return new_factor(rule, solver.tableau.order, error, previous)


def new_factor(
    rule: Controller, order: int, error: Number, previous: Number
) -> tuple[Number, Number]:
    """See ``change_of_size``."""
    of = functions_for(error)
    error = of.clamp(error, min=SMALLEST_ERROR)
    factor = SAFETY * of.pow(error, -rule.error / order)
    if rule.previous:
        factor = factor * of.pow(previous, rule.previous / order)
    factor = of.clamp(factor, SMALLEST_FACTOR, LARGEST_FACTOR)
    if rule.keeps:
        factor = of.where(error < 1, of.clamp(factor, min=1.0), factor)
    accepted = error <= 1
    factor = of.where(accepted, factor, of.clamp(factor, max=1.0))
    return factor, of.where(accepted, error, previous)


def usable(error: Number) -> Number:
    """The error, infinite where it is NaN: the smallest factor then, as diffrax and scipy do."""
    found: Number = functions_for(error).where(error == error, error, math.inf)
    return found


def natural_size(factor: Number, tried: Number, proposed: Number) -> Number:
    """The size that an accepted step could have had, were there no time to land on; infinite where
    the controller asks for the largest factor."""
    of = functions_for(factor)
    natural: Number = of.where(factor == LARGEST_FACTOR, math.inf, of.maximum(tried, proposed))
    return natural


def probing_size(d0: Number, d1: Number) -> Number:
    """A tiny step, over which to see how f changes. d0, d1: norms of y and f in units of the
    tolerance; 1e-6 where they are so large that they are not finite. Source: ``first_size``."""
    of = functions_for(d0)
    small = (d0 < 1e-5) | (d1 < 1e-5)
    size: Number = of.where(small, 1e-6, of.divide(0.01 * d0, d1))
    return of.where((size > 0) & (size < math.inf), size, 1e-6)  # type: ignore[no-any-return]


def first_size(h0: Number, d1: Number, d2: Number, order: int) -> Number:
    """A first step size from the scales of f and of its change; h0 where f was not finite there.

    h0: ``probing_size``. d1: the norm of f, d2: that of its change over h0 divided by h0, both in
    units of the tolerance. Source: Hairer, Norsett and Wanner, "Solving Ordinary Differential
    Equations I", 2nd ed., sec. II.4, with torchdiffeq's rounding of its rules.
    """
    of = functions_for(h0)
    flat = (d1 <= 1e-15) & (d2 <= 1e-15)
    steep = of.pow(0.01 / of.clamp(of.fmax(d1, d2), min=1e-15), 1 / order)
    size: Number = of.minimum(100 * h0, of.where(flat, of.clamp(h0 * 1e-3, min=1e-6), steep))
    return of.where((d2 < math.inf) & (size > 0), size, h0)  # type: ignore[no-any-return]


def end_of_equal_step(start: Number, end: Number, index: Any, count: Any) -> Number:
    """Where a step ends that is one of ``count`` equal ones; the last one ends exactly at ``end``.

    ``index``: from 0 on.
    """
    within = start + (end - start) * ((index + 1) / count)
    t1: Number = functions_for(start).where(index + 1 == count, end, within)
    return t1


def landing(t1: Number, end: Number, direction: Number) -> tuple[Number, Any]:
    """The end of a step that may not go beyond ``end``, and whether it lands there.

    ``direction``: 1 or -1.
    """
    lands = (t1 - end) * direction >= 0
    return functions_for(t1).where(lands, end, t1), lands


def follows_forward_steps(forward: Solver, backward: Solver) -> bool:
    """Whether backward steps along a known y(t) are no longer than those natural to the forward
    solve there, and the first one as long: where both solvers choose their steps.

    For the adjoint may be smooth where f, and so the integrand of dL/dtheta, is not: y would show
    that, and is not part of the backward state.
    """
    return forward.method.kind == backward.method.kind == "adaptive"
