"""Dense output: y at any time of a solve, from its accepted steps."""

from bisect import bisect_left
from dataclasses import replace

import torch
from torch import Tensor

from node_cli.ode.engines.eager.solve import Step
from node_cli.ode.engines.eager.step import Attempt, Stage, Stepper
from node_cli.ode.engines.formulas import dense_weights, weighted_sum
from node_cli.ode.tableau import Tableau


class DenseOutput:
    """A polynomial on every accepted step, through y and f at its ends; see ``engine.DenseRecord``.

    Of order 4, through y at the middle of the step too, where the method has weights for it
    (dopri5, tsit5); else cubic Hermite interpolation, of order 3, which limits what follows from
    it whatever the order of the method. Memory: 5 or 4 states per step. Cost: one evaluation of f
    at the end of the last step, unless the method's last stage is that (``first_same_as_last``).

    Sources: Shampine, "Some practical Runge-Kutta formulas", Math. Comp. 46 (1986), and Tsitouras
    (2011) for the middle; Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I",
    2nd ed., sec. II.6, eq. (6.7) for the cubic.
    """

    def __init__(self, tableau: Tableau) -> None:
        self.tableau = tableau
        self.steps: list[Step] = []
        self.points: list[Tensor] = []  # of each step: y0, y1, dt f0, dt f1 and the middle

    def record(self, step: Step, first: Stage, attempt: Attempt) -> None:
        """Add an accepted step; to be called by the solve, as its ``on_accept``."""
        mid = self.tableau.mid
        points = step.y0.new_empty((4 if mid is None else 5, *step.y0.shape))
        points[0] = step.y0
        points[1] = step.y1
        torch.mul(first.k, step.dt, out=points[2])
        if attempt.last is not None:
            torch.mul(attempt.last.k, step.dt, out=points[3])
        elif self.steps:
            self._end(first.k)
        if mid is not None:
            slopes = (stage.k for stage in attempt.stages)
            points[4] = weighted_sum(step.y0, [w * step.dt for w in mid], slopes)
        # Not the step's own tensors, which would live on beside their copies.
        self.steps.append(replace(step, y0=points[0], y1=points[1]))
        self.points.append(points)

    @torch.no_grad()
    def finish(self, stepper: Stepper) -> None:
        """To be called after the solve: evaluates f at its end, where the solve has not."""
        if not self.tableau.first_same_as_last:
            self._end(stepper.probe(self.steps[-1].t1, self.steps[-1].y1))
        self.sign = 1.0 if self.steps[0].dt > 0 else -1.0
        self.ends = [self.sign * step.t1 for step in self.steps]

    def _end(self, slope: Tensor) -> None:
        torch.mul(slope, self.steps[-1].dt, out=self.points[-1][3])

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
        i = self._index(t)
        step, points = self.steps[i], self.points[i]
        fraction = (t - step.t0) / step.dt
        weights = dense_weights(fraction, middle=self.tableau.mid is not None)
        w = torch.tensor(weights, dtype=points.dtype, device=points.device)
        return torch.mv(points.view(len(weights), -1).t(), w).view(step.y0.shape)
