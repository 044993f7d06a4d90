"""Dense output: y at any time of a solve, from its accepted steps."""

from bisect import bisect_left

import torch
from torch import Tensor

from node_cli.ode.engines.eager.solve import Step
from node_cli.ode.engines.eager.step import Attempt, Stage, Stepper
from node_cli.ode.engines.formulas import dense_weights, weighted_sum
from node_cli.ode.transfer import vector


class DenseOutput:
    """A polynomial on every accepted step, through y and f at its ends; see ``engine.DenseRecord``.

    And through y within the step, where the method has weights for it (``Tableau.interior``). Of
    degree 7 for dopri8: its error, O(dt^8), falls as that of the solution does. Of degree 4 for
    dopri5 and tsit5: an error of O(dt^5), as the estimate has that is kept at the tolerance. A
    cubic for every other method: an error of O(dt^4), no worse than the order of any of them (4 at
    most). So it costs no method its order.

    Memory: 6, 3 or 2 states per step, since steps share y and f where they meet. Cost: for dopri8
    four evaluations of f per accepted step; one at the end of the last step, unless the method's
    last stage is that (``first_same_as_last``).

    Sources: ``dopri8_dense`` for dopri8; Shampine, "Some practical Runge-Kutta formulas", Math.
    Comp. 46 (1986), and Tsitouras (2011) for the middle of dopri5 and tsit5; ``dense_weights`` for
    the polynomials.
    """

    def __init__(self, stepper: Stepper) -> None:
        self.stepper = stepper
        self.tableau = stepper.tableau
        self.steps: list[Step] = []
        self.slopes: list[Tensor] = []  # f where each step begins, and where the last one ends
        self.interiors: list[list[Tensor]] = []  # of each step, y within it
        self.latest: tuple[Step, Tensor] | None = None  # whose points were asked for, with these

    def record(self, step: Step, first: Stage, attempt: Attempt) -> None:
        """Add an accepted step; to be called by the solve, as its ``on_accept``."""
        if len(self.slopes) == len(self.steps):
            self.slopes.append(first.k)
        if attempt.last is not None:
            self.slopes.append(attempt.last.k)
        self.steps.append(step)
        inner = []
        if self.tableau.interior:
            slopes = self.stepper.further_slopes(attempt.stages, step.t0, step.dt)
            for _, weights in self.tableau.interior:
                inner.append(weighted_sum(step.y0, [w * step.dt for w in weights], slopes))
        self.interiors.append(inner)

    @torch.no_grad()
    def complete(self) -> None:
        """To be called after the solve: evaluates f at its end, where the solve has not."""
        if not self.tableau.first_same_as_last:
            self.slopes.append(self.stepper.probe(self.steps[-1].t1, self.steps[-1].y1))

    def finish(self) -> None:
        """``complete``, and from now on it can be asked for y at any time."""
        self.complete()
        self.sign = 1.0 if self.steps[0].dt > 0 else -1.0
        self.ends = [self.sign * step.t1 for step in self.steps]

    def forget_first(self) -> None:
        """Drop the first step that is kept."""
        del self.steps[0], self.slopes[0], self.interiors[0]
        self.forget_points()

    def forget_points(self) -> None:
        """Free those of the step that was asked for last."""
        self.latest = None

    def _index(self, t: float) -> int:
        """The index of the step in which t lies."""
        return min(bisect_left(self.ends, self.sign * t), len(self.steps) - 1)

    def longest_step(self, t: float) -> float:
        """How long a step from t towards the start may be, for what varies as fast as y does.

        It reaches into a step of this solve only if it is no longer than what is ``natural`` there,
        and not beyond the start. For steps of an adaptive method. ``Tape.longest_step`` is its
        twin, which looks at all steps at once.
        """
        longest = self.sign * (t - self.steps[0].t0)
        for i in range(self._index(t), -1, -1):
            distance = self.sign * t - self.ends[i]
            if distance >= longest:
                break
            natural = self.steps[i].natural
            assert natural is not None
            longest = min(longest, max(distance, natural))
        return longest

    def at(self, t: float) -> Tensor:
        """y(t), a tensor of its own, for t within the solve."""
        return self.within(self._index(t), t)

    def within(self, i: int, t: float) -> Tensor:
        """y(t), a tensor of its own, for t within the step of index i."""
        step, points = self.steps[i], self.points(i)
        fraction = (t - step.t0) / step.dt
        weights = dense_weights(fraction, self.tableau.fractions)
        w = vector(weights, points)
        return torch.mv(points.view(len(weights), -1).t(), w).view(step.y0.shape)

    def points(self, i: int) -> Tensor:
        """What the polynomial of the step of index i meets, (n, *y0.shape): y0, y1, dt f0, dt f1
        and y within it."""
        step = self.steps[i]
        if self.latest and self.latest[0] is step:
            return self.latest[1]
        met = [step.y0, step.y1, *self.slopes[i : i + 2], *self.interiors[i]]
        points = step.y0.new_empty((len(met), *step.y0.shape))
        torch.stack(met, out=points)
        points[2:4].mul_(step.dt)
        self.latest = step, points
        return points
