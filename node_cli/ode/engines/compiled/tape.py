"""What a compiled solve keeps of its accepted steps: buffers that its loop writes row by row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from node_cli.ode.engines.formulas import dense_weights
from node_cli.ode.solver import Keep
from node_cli.ode.tableau import Tableau


class Tape(NamedTuple):
    """Step n leads from ``times[n]`` to ``times[n + 1]``, float64; so with the rows of the others.

    ``stages``: of every stage what the product of f needs, stage i of step n in row
    ``stages_per_step * n + i``. ``states``: y where steps begin and end. ``slopes``: f there.
    ``interiors``: y within steps, at each of ``Tableau.fractions``. ``sizes``: those that are
    ``natural`` to steps, float64. Those that are not kept are None.
    """

    times: Tensor
    stages: list[Tensor]
    states: Tensor | None
    slopes: Tensor | None
    interiors: Tensor | None
    sizes: Tensor | None

    @property
    def rows(self) -> int:
        """The number of steps that there is room for."""
        return self.times.shape[0] - 1

    def record(self, row: Tensor, **values: Tensor) -> None:
        """Write a row of the buffers of these names, those that are kept."""
        for name, value in values.items():
            buffer = getattr(self, name)
            if buffer is not None:
                buffer.index_copy_(0, row.view(1), value[None])

    def record_stage(self, row: Tensor, saved: Sequence[Tensor]) -> None:
        for buffer, value in zip(self.stages, saved, strict=False):
            buffer.index_copy_(0, row.view(1), value[None])

    def within(self, row: Tensor, fraction: float | Tensor, tableau: Tableau) -> Tensor:
        """y at the fraction of a step of this method: the polynomials of ``DenseOutput``."""
        assert self.states is not None
        assert self.slopes is not None
        dt = (pick(self.times, row + 1) - pick(self.times, row)).to(self.states.dtype)
        points = [
            pick(self.states, row),
            pick(self.states, row + 1),
            dt * pick(self.slopes, row),
            dt * pick(self.slopes, row + 1),
        ]
        if self.interiors is not None:
            points += pick(self.interiors, row).unbind()
        weights = dense_weights(fraction, tableau.fractions)
        y = torch.zeros_like(points[0])
        for weight, point in zip(weights, points, strict=True):
            y = y + (weight.to(y.dtype) if isinstance(weight, Tensor) else weight) * point
        return y

    def at(self, t: Tensor, steps: Tensor, tableau: Tableau) -> Tensor:
        """y(t), t within the solve that made the first ``steps`` rows, by this method."""
        ends = self.times[1:]
        sign = torch.sign(ends[0] - self.times[0])
        before = (sign * ends < sign * t) & (torch.arange(self.rows, device=t.device) < steps)
        row = torch.minimum(before.sum(), steps.long() - 1)
        start, end = pick(self.times, row), pick(self.times, row + 1)
        return self.within(row, (t - start) / (end - start), tableau)

    def longest_step(self, t: Tensor, steps: Tensor) -> Tensor:
        """How long a step from t towards the start may be, t and the result float64.

        The twin of ``DenseOutput.longest_step``, which explains it: here over all steps at once.
        """
        assert self.sizes is not None
        starts, ends = self.times[:-1], self.times[1:]
        sign = torch.sign(ends[0] - starts[0])
        reached = (sign * starts < sign * t) & (torch.arange(self.rows, device=t.device) < steps)
        longest = torch.where(reached, torch.maximum(sign * (t - ends), self.sizes), math.inf)
        return torch.minimum(longest.min(), sign * (t - starts[0]))


@dataclass
class Recording:
    """The accepted steps of a solve on its tape; with a trajectory, an ``engine.DenseRecord``.

    ``tableau``: of the method that made them. ``spans``: the rows of the steps of each interval
    between two requested times.
    """

    tape: Tape
    tableau: Tableau
    spans: list[tuple[int, int]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Accepted steps."""
        return self.spans[-1][1]

    def at(self, t: float) -> Tensor:
        """y(t), for t within a solve that has kept its trajectory."""
        moment = self.tape.times.new_tensor(t)
        return self.tape.at(moment, self.tape.times.new_tensor(self.count), self.tableau)


def pick(buffer: Tensor, row: Tensor) -> Tensor:
    """A row, whose number the compiler does not know."""
    return buffer.index_select(0, row.view(1))[0]


def stages_per_step(tableau: Tableau) -> int:
    """The last stage of a step may be the first of the next one."""
    return tableau.stages - 1 if tableau.first_same_as_last else tableau.stages


def new_tape(rows: int, keep: Keep, tableau: Tableau, y: Tensor, saved: Sequence[Tensor]) -> Tape:
    """Room for ``rows`` steps. ``y``, ``saved``: examples of the state and of what a stage keeps.

    The number of rows is no part of what compiled code depends on.
    """

    def empty(count: int, example: Tensor) -> Tensor:
        return torch.empty((count, *example.shape), dtype=example.dtype, device=y.device)

    dense, inner = keep == "trajectory", tableau.interior
    stages = stages_per_step(tableau) * rows + 1
    times = torch.zeros(rows + 1, dtype=torch.float64, device=y.device)
    tape = Tape(
        times,
        [empty(stages, x) for x in saved] if keep == "stages" else [],
        empty(rows + 1, y) if dense or keep == "states" else None,
        empty(rows + 1, y) if dense else None,
        empty(rows, y.expand(len(inner), *y.shape)) if dense and inner else None,
        empty(rows, times[0]) if dense and tableau.adaptive else None,
    )
    for buffer in _buffers(tape):
        torch._dynamo.mark_dynamic(buffer, 0)
    return tape


def copy_tape(tape: Tape, into: Tape) -> None:
    """The rows of a tape to a longer one."""
    for old, new in zip(_buffers(tape), _buffers(into), strict=True):
        new[: len(old)].copy_(old)


def _buffers(tape: Tape) -> list[Tensor]:
    kept = [tape.states, tape.slopes, tape.interiors, tape.sizes]
    return [tape.times, *tape.stages, *(x for x in kept if x is not None)]
