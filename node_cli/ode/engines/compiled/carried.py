"""What a compiled loop carries: numbers from call to call, its state from attempt to attempt."""

from typing import NamedTuple

from torch import Tensor


class Numbers(NamedTuple):
    """How far a solve has come: what a loop is given, and returns, as a vector (float64).

    ``last``: of all requested times. ``size``: of the next step. ``previous``: error of the last
    accepted step (PI controller). ``error`` and ``dt``: of the last attempt; see ``Solve`` for an
    infinite or NaN error. ``attempts``: made in this call, of at most ``limit``. ``accepted``:
    steps of the whole solve. ``evaluated``: 1 if f is known at (t, y). ``learnt``: ``size`` after
    the first accepted step. ``finite``: 1 if y is.
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


class State(NamedTuple):
    """What a loop carries from attempt to attempt: most of ``Numbers``, y and k = f(t, y)."""

    t: Tensor
    size: Tensor
    error: Tensor
    attempts: Tensor
    accepted: Tensor
    dt: Tensor
    previous: Tensor
    evaluated: Tensor
    learnt: Tensor
    y: Tensor
    k: Tensor
