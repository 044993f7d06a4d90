"""One explicit Runge-Kutta step: its stages, its result and the estimate of its error."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from node_cli.ode.norms import Norm, rms_norm
from node_cli.ode.solver import Solver
from node_cli.ode.tableau import Tableau
from node_cli.ode.work import Field


class Stage(NamedTuple):
    """One evaluation of f: k = f(t, y)."""

    t: Tensor
    y: Tensor
    k: Tensor


Evaluate = Callable[[Tensor, Tensor], Stage]
"""Evaluates f; t and y of the stage are what f was given, leaves of a graph, say."""


def plain(f: Field) -> Evaluate:
    """f as it is."""
    return lambda t, y: Stage(t, y, f(t, y))


@dataclass
class Attempt:
    """What came of a step. ``last``: the stage f(t1, y1), None where the method has none.

    ``error``: the estimated local error in units of the tolerance, None without estimate.
    """

    y1: Tensor
    last: Stage | None
    error: float | None
    stages: list[Stage]


class Stepper:
    """Computes steps, operation by operation; a solve decides where they lead.

    ``evaluate``: makes stages of the evaluations of f that the result depends on, by default
    without a graph. ``norm`` is read by adaptive methods only.
    """

    def __init__(
        self,
        f: Field,
        solver: Solver,
        norm: Norm = rms_norm,
        evaluate: Evaluate | None = None,
    ) -> None:
        self.plain = plain(f)
        self.evaluate_at = evaluate or self.plain
        self.tableau = solver.tableau
        self.rtol, self.atol = solver.rtol, solver.atol
        self.norm = norm

    def evaluate(self, t: float, y: Tensor) -> Stage:
        """f(t, y), for the first stage of a step."""
        return self.evaluate_at(torch.tensor(t, dtype=y.dtype, device=y.device), y)

    def probe(self, t: float, y: Tensor) -> Tensor:
        """f(t, y), on which no result depends."""
        return self.plain(torch.tensor(t, dtype=y.dtype, device=y.device), y).k

    def attempt(self, first: Stage, times: list[float], dt: float, *, final: bool) -> Attempt:
        """The step of size dt that begins with ``first``, its stages at ``times``.

        ``final``: if it is accepted, the solve ends with it.
        """
        tableau, evaluate = self.tableau, self.evaluate_at
        last = self.plain if final and tableau.first_same_as_last else evaluate
        stages = stages_of_step(evaluate, tableau, first, times, dt, tableau.stages, last)
        if tableau.first_same_as_last:
            y1 = stages[-1].y
        else:
            y1 = combination(first.y, [b * dt for b in tableau.b], [s.k for s in stages])
        error = self._error(stages, y1, dt) if tableau.adaptive else None
        return Attempt(y1, stages[-1] if tableau.first_same_as_last else None, error, stages)

    def _error(self, stages: list[Stage], y1: Tensor, dt: float) -> float:
        weights = self.tableau.b_error
        assert weights is not None and self.rtol is not None and self.atol is not None
        error = torch.mul(stages[0].k, weights[0] * dt)
        for weight, stage in zip(weights[1:], stages[1:], strict=True):
            if weight:
                error.add_(stage.k, alpha=weight * dt)
        scale = torch.maximum(stages[0].y.abs(), y1.abs()).mul_(self.rtol).add_(self.atol)
        return float(self.norm(error.div_(scale)))


def stages_of_step(
    evaluate: Evaluate,
    tableau: Tableau,
    first: Stage,
    times: list[float],
    dt: float,
    count: int,
    last: Evaluate | None = None,
) -> list[Stage]:
    """The first ``count`` stages of a step that begins with ``first``.

    ``last``: evaluates the last of them, if not ``evaluate``.
    """
    y0 = first.y
    stages, slopes = [first], [first.k]
    moments = torch.tensor(times, dtype=y0.dtype, device=y0.device).unbind()
    for i in range(1, count):
        y = combination(y0, [a * dt for a in tableau.a[i]], slopes)
        stage = (last if last and i == count - 1 else evaluate)(moments[i], y)
        stages.append(stage)
        slopes.append(stage.k)
    return stages


def combination(y: Tensor, weights: Iterable[float], terms: Iterable[Tensor]) -> Tensor:
    """y plus the weighted terms, a new tensor. Terms of weight zero are not read."""
    result = None
    for weight, term in zip(weights, terms, strict=False):
        if weight == 0:
            continue
        if result is None:
            result = torch.add(y, term, alpha=weight)
        else:
            result.add_(term, alpha=weight)
    return y.clone() if result is None else result
