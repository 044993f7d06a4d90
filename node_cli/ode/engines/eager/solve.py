"""Explicit Runge-Kutta methods, fixed and adaptive, step by step.

Time is a Python float throughout, so that a step asks the device for one number only: the estimate
of its error. Nothing here is differentiated; gradients follow from the accepted steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.ode.engines.budget import Solve
from node_cli.ode.engines.eager.step import Attempt, Stage, Stepper
from node_cli.ode.engines.first_size import heuristic_size
from node_cli.ode.engines.formulas import Floats, stage_times
from node_cli.ode.engines.step_control import (
    change_of_size,
    end_of_equal_step,
    first_size,
    landing,
    natural_size,
    probing_size,
    usable,
)
from node_cli.ode.field import no_autocast
from node_cli.ode.norms import Norm, rms_norm
from node_cli.ode.solver import Solver, StepMemory
from node_cli.ode.work import Steps


@dataclass
class Step:
    """An accepted step from (t0, y0) to (t1, y1).

    ``times``: where f was evaluated for the stages. ``share_t0`` and ``share_dt``: the derivatives
    of t0 - start and of dt by the length of the interval between two requested times in which the
    step lies, the one of index ``interval``. A step size that was chosen is a constant; one that
    lands on the end of the interval, or divides it, is not. ``natural``: ``natural_size``; None
    where steps are equal.
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
"""How long a step from t may be."""

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
    memory: StepMemory | None = None,
) -> tuple[Tensor, Steps]:
    """Solve dy/dt = f(t, y) from y0 at t[0].

    Args:
        stepper: knows f, and the tableau and the tolerances of ``solver``.
        y0: any shape, float32 or float64.
        t: (T,), strictly increasing or decreasing, T >= 2.
        norm: measures y and f where a first step size has to be found.
        on_accept: sees every accepted step.
        longest: no step of an adaptive method from t is longer; the first one is as long, unless
            the solver gives its size.
        memory: of the first step size, for ``first_step="warm"``.

    Returns:
        y at every requested time, ``(T, *y0.shape)``, each of them landed on; and the steps.

    Raises:
        SolveFailed: a step size underflows, the state or f stops being finite, or ``max_steps`` or
            ``max_nfe`` of the solver would be exceeded.
        ValueError: the times are not monotonic.
    """
    solve = _Solve(stepper, solver, norm, on_accept, longest, memory)
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
        memory: StepMemory | None,
    ) -> None:
        super().__init__(solver, memory)
        self.longest = longest
        self.stepper = stepper
        self.norm = norm
        self.on_accept = on_accept
        self.first: Stage | None = None

    def set_out(self, times: list[float], y0: Tensor) -> None:
        super().set_out(times, y0)
        if self.tableau.adaptive:
            self.previous_error = 1.0
            self.size = self._first_size()

    def _cross(self, interval: int, start: float, end: float) -> bool:
        if self.tableau.adaptive:
            self._adaptive(interval, end)
            return True  # where the error was accepted, the state is finite
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
        if first.y.device.type == "cuda":
            return self._heuristic_size_there(first)
        return self._heuristic_size(first)

    @torch.no_grad()
    def _heuristic_size_there(self, first: Stage) -> float:
        """``_heuristic_size``, of which the device is asked for the result alone."""
        self._spend(1)
        t = torch.full((), self.t, dtype=torch.float64, device=first.y.device)
        f = self.stepper.field
        found = heuristic_size(f, self.norm, self.solver, t, self.direction, first.y, first.k)
        size, scales = torch.stack(found).tolist()
        if not math.isfinite(scales):
            self._check_first(first)
        return float(size)

    @torch.no_grad()
    def _heuristic_size(self, first: Stage) -> float:
        """``first_size`` from the scales of y, f and its change over a tiny step; one evaluation.

        The twin of ``first_size.heuristic_size``: numbers are floats, and sums in place.
        """
        assert self.solver.rtol is not None
        assert self.solver.atol is not None
        self._spend(1)
        y0, f0 = first.y, first.k
        scale = y0.abs().mul_(self.solver.rtol).add_(self.solver.atol)
        d0, d1 = torch.stack([self.norm(y0 / scale), self.norm(f0 / scale)]).tolist()
        if not math.isfinite(d0 + d1):
            self._check_first(first)
        h0: float = probing_size(d0, d1)
        h = self.direction * h0
        f1 = self.stepper.probe(self.t + h, torch.add(y0, f0, alpha=h))
        d2 = Floats.divide(float(self.norm((f1 - f0) / scale)), h0)
        return float(first_size(h0, d1, d2, self.tableau.order))

    def _fixed(self, interval: int, start: float, end: float) -> None:
        """Cut an interval into equal steps."""
        n = self.solver.steps_in(end - start)
        for j in range(n):
            t1 = end_of_equal_step(start, end, j, n)
            times, attempt = self._attempt(t1)
            self._accept(interval, t1, times, attempt, share_t0=j / n, share_dt=1 / n)

    def _adaptive(self, interval: int, end: float) -> None:
        """Step through an interval, the last step landing on its end."""
        while self.t != end:
            if self.longest:
                self.size = min(self.size, self.longest(self.t))
            t1, lands = landing(self._next(), end, self.direction)
            times, attempt = self._attempt(t1)
            assert attempt.error is not None
            self.error = usable(attempt.error)
            # The factor applies to the size that was asked for: dt is that size rounded to units in
            # the last place of t, and a size of one such unit could then never shrink.
            size = abs(t1 - self.t) if lands else self.size
            factor, self.previous_error = change_of_size(
                self.solver, self.error, self.previous_error
            )
            tried, self.size = self.size, size * factor
            if self.error <= 1:
                natural = natural_size(factor, tried, self.size)
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
                if self.error == math.inf:
                    self._check_first(self._first_stage())

    def _check_first(self, first: Stage) -> None:
        """Fail where y or f is not finite where a step begins. Asks the device for one number, and
        only where something was not finite. By the norm, so that processes which share their steps
        fail together."""
        if not math.isfinite(self.norm(first.y * 0 + first.k * 0)):
            self._fail_where_it_begins()

    def _attempt(self, t1: float) -> tuple[list[float], Attempt]:
        tableau, t0, first = self.tableau, self.t, self._first_stage()
        self.dt = dt = t1 - t0
        times = [self.first_time, *stage_times(tableau, t0, t1, first.y.dtype)]
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
