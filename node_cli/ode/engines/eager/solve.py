"""Explicit Runge-Kutta methods, fixed and adaptive: the engine of our own.

Time is a Python float throughout, so that a step asks the device for one number only: the estimate
of its error. Nothing here is differentiated; sensitivity methods work from the accepted steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from node_cli.ode.engines.budget import Solve
from node_cli.ode.engines.eager.step import Attempt, Stage, Stepper
from node_cli.ode.engines.step_control import LARGEST_FACTOR, controller, initial_step
from node_cli.ode.norms import Norm, rms_norm
from node_cli.ode.solver import Solver
from node_cli.ode.work import Steps, no_autocast

NUMPY_FLOAT: dict[torch.dtype, type[np.floating[Any]]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
}


@dataclass
class Step:
    """An accepted step from (t0, y0) to (t1, y1).

    ``times``: where f was evaluated for the stages. ``share_t0`` and ``share_dt``: the derivatives
    of t0 - start and of dt by the length of the interval between two requested times in which the
    step lies, the one of index ``interval``. A step size that was chosen is a constant; one that
    lands on the end of the interval, or divides it, is not. ``natural``: the size that the step
    control would choose here, were there no time to land on, and infinite where it asks for the
    largest factor; None where steps are equal.
    """

    interval: int
    t0: float
    t1: float
    times: list[float]
    y0: Tensor
    y1: Tensor
    share_t0: float
    share_dt: float
    natural: float | None

    @property
    def dt(self) -> float:
        return self.t1 - self.t0


LongestStep = Callable[[float], float]
"""How long, from t, a step may be."""

OnAccept = Callable[[Step, Stage, Attempt], object]
"""Sees an accepted step, its first stage, and the attempt that it was."""


def integrate(
    stepper: Stepper,
    y0: Tensor,
    t: Tensor,
    solver: Solver,
    norm: Norm = rms_norm,
    on_accept: OnAccept = lambda *_: None,
    longest: LongestStep | None = None,
) -> tuple[Tensor, Steps]:
    """Solve dy/dt = f(t, y) from y0 at t[0]; return y at every requested time, and the steps.

    ``stepper``: knows f, the tableau and the tolerances of ``solver``. ``y0``: any shape, float32
    or float64. ``t``: (T,), strictly increasing or decreasing, T >= 2; every one of these times is
    landed on. ``norm`` measures y and f where a first step size has to be found. ``on_accept`` sees
    every accepted step. ``longest``: no step of an adaptive method from t is longer, and the first
    one as long, unless the solver has a first step. Returns ``(T, *y0.shape)``.

    Raises ``SolveFailed`` where a step size underflows, the state or f stops being finite, or
    ``max_steps`` or ``max_nfe`` of the solver would be exceeded.
    """
    solve = _Solve(stepper, solver, norm, on_accept, longest)
    with no_autocast(y0.device.type):
        return solve.through(t.tolist(), y0), Steps(solve.accepted, solve.rejected)


class _Solve(Solve):
    """``first``: the first stage of the next step, if evaluated."""

    def __init__(
        self,
        stepper: Stepper,
        solver: Solver,
        norm: Norm,
        on_accept: OnAccept,
        longest: LongestStep | None,
    ) -> None:
        super().__init__(solver)
        self.longest = longest
        self.stepper = stepper
        self.norm = norm
        self.on_accept = on_accept
        self.first: Stage | None = None

    def set_out(self, times: list[float], y0: Tensor) -> None:
        super().set_out(times, y0)
        if self.tableau.adaptive:
            self.control = controller(self.solver)
            self.size = self._first_size()

    def _cross(self, interval: int, start: float, end: float) -> bool:
        if self.tableau.adaptive:
            self._adaptive(interval, end)
        else:
            self._fixed(interval, start, end)
        return math.isfinite(self.y.abs().max())  # isfinite().all() takes seven times as long

    def _first_stage(self) -> Stage:
        if self.first is None:
            self._spend(1)
            self.first, self.first_time = self.stepper.evaluate(self.t, self.y), self.t
            self.slope = self.first.k
        return self.first

    def _first_size(self) -> float:
        size = self._given_size()
        if size is not None:
            return size
        if self.longest:
            return self.longest(self.t)
        first = self._first_stage()
        self._spend(1)
        return initial_step(self.stepper, self.t, first, self.direction, self.solver, self.norm)

    def _fixed(self, interval: int, start: float, end: float) -> None:
        """Cut an interval into equal steps."""
        n = self.solver.steps_in(end - start)
        for j in range(n):
            t1 = end if j == n - 1 else start + (end - start) * ((j + 1) / n)
            times, attempt = self._attempt(t1)
            self._accept(interval, t1, times, attempt, share_t0=j / n, share_dt=1 / n)

    def _adaptive(self, interval: int, end: float) -> None:
        """Step through an interval, the last step landing on its end."""
        while self.t != end:
            if self.longest:
                self.size = min(self.size, self.longest(self.t))
            t1 = self._next()
            lands = (t1 - end) * self.direction >= 0
            t1 = end if lands else t1
            times, attempt = self._attempt(t1)
            assert attempt.error is not None
            if math.isnan(attempt.error):
                self._fail_not_finite()
            # Of the size asked for, where that was taken: dt is that rounded to units in the last
            # place of t, and of one such unit nothing less would ever be tried.
            size = abs(t1 - self.t) if lands else self.size
            factor = self.control.factor(attempt.error)
            tried, self.size = self.size, size * factor
            if attempt.error <= 1:
                natural = math.inf if factor == LARGEST_FACTOR else max(tried, self.size)
                self._accept(
                    interval,
                    t1,
                    times,
                    attempt,
                    share_t0=0.0,
                    share_dt=float(lands),
                    natural=natural,
                )
                if self.accepted == 1:
                    self._learn(self.size)
            else:
                self.rejected += 1

    def _attempt(self, t1: float) -> tuple[list[float], Attempt]:
        tableau, t0, first = self.tableau, self.t, self._first_stage()
        self.dt = dt = t1 - t0
        times = [self.first_time, *(t0 + c * dt for c in tableau.c[1:])]
        if tableau.adaptive:
            # As torchdiffeq, in case f is discontinuous at t1.
            kind = NUMPY_FLOAT[first.y.dtype]
            before = float(np.nextafter(kind(t1), kind(t0)))
            times = [before if c == 1 else s for c, s in zip(tableau.c, times, strict=True)]
        self._spend(tableau.stages - 1)
        return times, self.stepper.attempt(first, times, dt, final=t1 == self.last)

    def _accept(
        self,
        interval: int,
        t1: float,
        times: list[float],
        attempt: Attempt,
        *,
        share_t0: float,
        share_dt: float,
        natural: float | None = None,
    ) -> None:
        first = self._first_stage()
        step = Step(interval, self.t, t1, times, first.y, attempt.y1, share_t0, share_dt, natural)
        self.accepted += 1
        self.t, self.y = t1, attempt.y1
        self.first, self.first_time = attempt.last, times[-1]
        self.slope = None if attempt.last is None else attempt.last.k
        self.on_accept(step, first, attempt)
