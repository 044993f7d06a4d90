"""What every solve of the native engine does: walk from time to time within its budget, or fail."""

import math
import warnings
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import NoReturn

import torch
from torch import Tensor

from node_cli.ode.failures import LOOSEN, SMALLER_STEPS, STABILISE, SolveFailed
from node_cli.ode.norms import rms_norm
from node_cli.ode.solver import Solver, StepMemory, check_times


class Solve(ABC):
    """A solve that has come to (t, y), by the native engine, whether eager or compiled.

    ``memory``: of the first step size, for ``first_step="warm"``. ``slope``: f(t, y), if it is
    known. ``size``: of the next step of an adaptive method; ``dt``: of the step at hand; ``error``:
    of the last attempt, infinite where a smaller step may help, NaN where none will.
    """

    def __init__(self, solver: Solver, memory: StepMemory | None = None) -> None:
        self.solver = solver
        self.memory = memory if solver.first_step == "warm" else None
        self.tableau = solver.tableau
        self.accepted = self.rejected = self.nfe = 0
        self.slope: Tensor | None = None
        self.size = math.nan
        self.error = 0.0
        self.crossed = 0  # accepted steps before the interval at hand
        self.told = False
        self.dt: float | None = None

    def through(self, times: list[float], y0: Tensor) -> Tensor:
        """y at every requested time, (T, *y0.shape); each of them is landed on.

        Raises ``ValueError`` where the times are not monotonic, and ``SolveFailed``.
        """
        self.set_out(times, y0)
        ys = [y0]
        for i, (start, end) in enumerate(pairwise(times)):
            if not self._cross(i, start, end):
                self._fail("the state is not finite", SMALLER_STEPS)
            ys.append(self.y)
            self._check_resolution(start, end)
        return torch.stack(ys)

    def _check_resolution(self, start: float, end: float) -> None:
        """Warn, once a solve, where f cannot tell the times of a step apart."""
        steps, self.crossed = self.accepted - self.crossed, self.accepted
        resolution = torch.finfo(self.y.dtype).eps * max(abs(start), abs(end))
        if self.told or abs(end - start) >= resolution * max(1, steps):
            return
        self.told = True
        dtype = str(self.y.dtype).removeprefix("torch.")
        warnings.warn(
            f"f is given t in the dtype of the state, and {dtype} resolves t={end:g} to "
            f"{resolution:.1g} only, more than a step: take float64, or begin at t=0",
            stacklevel=2,
        )

    def set_out(self, times: list[float], y0: Tensor) -> None:
        """Go to the first requested time."""
        check_times(times)
        self.t, self.y, self.last = times[0], y0, times[-1]
        self.direction = math.copysign(1.0, self.last - self.t)

    @abstractmethod
    def _cross(self, interval: int, start: float, end: float) -> bool:
        """Step from one requested time to the next; returns whether y is finite there."""

    def _given_size(self) -> float | None:
        """The size of the first step, None if it has to be found."""
        if self.memory:
            return self.memory.size
        first = self.solver.first_step
        return first if isinstance(first, float) else None

    def _learn(self, size: float) -> None:
        """Remember the size that is proposed after the first accepted step."""
        if self.memory:
            self.memory.size = size

    def _next(self) -> float:
        """Where the next step would lead."""
        if self.accepted + self.rejected == self.solver.max_steps:
            reason = f"{self.solver.max_steps} steps were not enough"
            self._fail(reason, f"{LOOSEN}, or raise max_steps.")
        t1: float = self.t + self.direction * self.size
        if not math.isfinite(t1):
            self._fail_not_finite()
        if t1 == self.t:
            if not math.isfinite(self.error):
                self._fail_not_finite()
            advice = f"{LOOSEN}, or compute in a higher precision."
            self._fail("the step size underflows", advice)
        return t1

    def _spend(self, evaluations: int) -> None:
        """Count evaluations of f that are about to be made."""
        self.nfe += evaluations
        if self.solver.max_nfe is not None and self.nfe > self.solver.max_nfe:
            reason = f"{self.solver.max_nfe} evaluations of f were not enough"
            self._fail(reason, f"{LOOSEN}, or raise max_nfe.")

    def _fail_not_finite(self) -> NoReturn:
        reason = "f, or the estimate of the error, is not finite within a step, however small"
        self._fail(reason, f"{LOOSEN}. {STABILISE}")

    def _fail_where_it_begins(self) -> NoReturn:
        """y or f(t, y) is not finite, so that no smaller step helps."""
        what = "f" if bool(self.y.isfinite().all()) else "the state"
        self._fail(f"{what} is not finite where a step begins", STABILISE)

    def _fail(self, reason: str, advice: str) -> NoReturn:
        raise SolveFailed(
            reason,
            solver=self.solver,
            advice=advice,
            t=self.t,
            dt=self.dt,
            y_norm=float(rms_norm(self.y.detach())),
            f_norm=None if self.slope is None else float(rms_norm(self.slope.detach())),
            accepted=self.accepted,
            rejected=self.rejected,
        )
