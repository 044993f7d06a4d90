"""One explicit Runge-Kutta step: its stages, its result and the estimate of its error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from node_cli.ode.engines.formulas import weighted_sum
from node_cli.ode.field import Field
from node_cli.ode.norms import Norm, rms_norm
from node_cli.ode.solver import Solver
from node_cli.ode.tableau import Tableau
from node_cli.ode.transfer import scalar, vector


class Stage(NamedTuple):
    """One evaluation of f: k = f(t, y). ``values``: what its products need, where there is no
    graph."""

    t: Tensor
    y: Tensor
    k: Tensor
    values: list[Tensor] | None = None


Evaluate = Callable[[Tensor, Tensor], Stage]
"""Evaluates f at (t, y). The stage holds what f was given: leaves of a graph, for example."""


def plain(f: Field) -> Evaluate:
    """Stages without anything beside f."""
    return lambda t, y: Stage(t, y, f(t, y))


@dataclass
class Attempt:
    """The result of a step, accepted or not.

    ``last``: the stage f(t1, y1), None where the method has none. ``error``: the estimated local
    error in units of the tolerance, None without estimate.
    """

    y1: Tensor
    last: Stage | None
    error: float | None
    stages: list[Stage]


class Stepper:
    """Computes steps, operation by operation; a solve decides where they lead.

    ``solver``: its tableau and tolerances are read. ``norm``: read by adaptive methods only.
    ``evaluate``: how to evaluate f where the result depends on it, by default as ``f`` does.
    ``host_times``: f is given times on the CPU, wherever y is.
    ``with_last``: something depends on f where the solve ends, too.
    """

    def __init__(
        self,
        f: Field,
        solver: Solver,
        norm: Norm = rms_norm,
        evaluate: Evaluate | None = None,
        *,
        host_times: bool = False,
        with_last: bool = False,
    ) -> None:
        self.host_times = host_times
        self.with_last = with_last
        self.field = f
        self.plain = plain(f)
        self.evaluate_at = evaluate or self.plain
        self.tableau = solver.tableau
        self.rtol, self.atol = solver.rtol, solver.atol
        self.norm = norm

    def evaluate(self, t: float, y: Tensor) -> Stage:
        """f(t, y), for the first stage of a step."""
        return self.evaluate_at(self._moment(t, y), y)

    def probe(self, t: float, y: Tensor) -> Tensor:
        """f(t, y), on which no result depends."""
        return self.plain(self._moment(t, y), y).k

    def _moment(self, t: float, y: Tensor) -> Tensor:
        return torch.tensor(t, dtype=y.dtype) if self.host_times else scalar(t, y)

    def _moments(self, times: list[float], y: Tensor) -> Sequence[Tensor]:
        made = torch.tensor(times, dtype=y.dtype) if self.host_times else vector(times, y)
        return made.unbind()

    def further_slopes(self, stages: list[Stage], t0: float, dt: float) -> list[Tensor]:
        """f at all stages of a step that was accepted, and at those which the dense output adds.

        Cost: one evaluation for each of the latter.
        """
        extra, y0 = self.tableau.extra, stages[0].y
        slopes = [stage.k for stage in stages]
        if not extra:
            return slopes
        moments = self._moments([t0 + c * dt for c, _ in extra], y0)
        for t, (_, a) in zip(moments, extra, strict=True):
            y = weighted_sum(y0, [w * dt for w in a], slopes)
            slopes.append(self.plain(t, y).k)
        return slopes

    def attempt(self, first: Stage, times: list[float], dt: float, *, final: bool) -> Attempt:
        """The step of size ``dt`` that begins with ``first``, its stages at ``times`` (one each).

        ``final``: the solve ends with this step, if it is accepted. Cost: an evaluation of f for
        each stage but the first, and for an adaptive method one number asked of the device.
        """
        tableau, evaluate = self.tableau, self.evaluate_at
        unread = final and tableau.first_same_as_last and not self.with_last
        last = self.plain if unread else evaluate
        moments = self._moments(times, first.y)
        stages = stages_of_step(evaluate, tableau, first, moments, dt, tableau.stages, last)
        if tableau.first_same_as_last:
            y1 = stages[-1].y
        else:
            y1 = weighted_sum(first.y, [b * dt for b in tableau.b], [s.k for s in stages])
        error = self._error(stages, y1, dt) if tableau.adaptive else None
        return Attempt(y1, stages[-1] if tableau.first_same_as_last else None, error, stages)

    def _error(self, stages: list[Stage], y1: Tensor, dt: float) -> float:
        """In units of the tolerance, NaN where a stage or y1 is not finite; the twin of
        ``loop.error_of``, by operations in place."""
        weights = self.tableau.b_error
        assert weights is not None and self.rtol is not None and self.atol is not None
        error = torch.mul(stages[0].k, weights[0] * dt)
        for weight, stage in zip(weights[1:], stages[1:], strict=True):
            if weight:
                error.add_(stage.k, alpha=weight * dt)
        if not weights[-1]:
            # What the estimate leaves out: f(t1, y1) is the first stage of the next step.
            error.add_(stages[-1].k, alpha=0)
        # An infinite y1 would have an error of zero in units of the tolerance.
        error.add_(y1, alpha=0)
        scale = torch.maximum(stages[0].y.abs(), y1.abs()).mul_(self.rtol).add_(self.atol)
        return float(self.norm(error.div_(scale)))


def stages_of_step(
    evaluate: Evaluate,
    tableau: Tableau,
    first: Stage,
    moments: Sequence[Tensor],
    dt: float,
    count: int,
    last: Evaluate | None = None,
) -> list[Stage]:
    """The first ``count`` stages of a step of size ``dt`` that begins with ``first``.

    ``moments``: the time of each stage, 0-dim. ``last``: evaluates f for the last of them in place
    of ``evaluate``.
    """
    y0 = first.y
    stages, slopes = [first], [first.k]
    for i in range(1, count):
        y = weighted_sum(y0, [a * dt for a in tableau.a[i]], slopes)
        stage = (last if last and i == count - 1 else evaluate)(moments[i], y)
        stages.append(stage)
        slopes.append(stage.k)
    return stages
