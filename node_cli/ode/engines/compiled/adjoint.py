"""The adjoint of a whole solve as a loop that torch.compile makes one graph of."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from node_cli.ode.engines.compiled.captured import CapturedField
from node_cli.ode.engines.compiled.loop import stage_times, weighted
from node_cli.ode.engines.compiled.tape import Tape, pick, stages_per_step
from node_cli.ode.tableau import Tableau


def adjoint_loop(f: CapturedField, tableau: Tableau) -> Callable[..., tuple[Tensor, ...]]:
    """(span, adjoint, tape, *parameters) -> (dL/dy0, *dL/dtheta) over the steps of a span of rows.

    ``adjoint``: dL/dy1 of the last of them. ``span``: (2,), int64. The equations are those of
    ``step_adjoint``. What the products need is on the tape, or is computed again from its states.
    """
    count = tableau.stages_of_result

    def stages(
        row: Tensor, dt: Tensor, tape: Tape, parameters: Sequence[Tensor]
    ) -> list[list[Tensor]]:
        if tape.states is None:
            base = row * stages_per_step(tableau)
            return [[pick(x, base + i) for x in tape.stages] for i in range(count)]
        y = pick(tape.states, row)
        t0, t1 = pick(tape.times, row), pick(tape.times, row + 1)
        first = t0.to(y.dtype)
        if tableau.first_same_as_last:  # it was the last one of the step before
            before = pick(tape.times, torch.clamp(row - 1, min=0)).to(y.dtype)
            first = torch.nextafter(first, before)
        times = stage_times(tableau, t0, t1, first, y.dtype)
        slopes: list[Tensor] = []
        kept = []
        for i in range(count):
            slope, saved = f.at(times[i], weighted(y, tableau.a[i], slopes, dt), parameters)
            slopes.append(slope)
            kept.append(saved)
        return kept

    def adjoint(
        span: Tensor, grad_y: Tensor, tape: Tape, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        lowest, row = span.unbind()
        zeros = [torch.zeros_like(parameters[i]) for i in f.trained]

        def pull(row: Tensor, adjoint: Tensor, *gradient: Tensor) -> tuple[Tensor, ...]:
            row = row - 1
            dt = (pick(tape.times, row + 1) - pick(tape.times, row)).to(adjoint.dtype)
            kept = stages(row, dt, tape, parameters)
            constants = f.constants(parameters)  # views, which may not enter a loop from outside
            products: list[Tensor] = []
            for i in reversed(range(count)):
                weights = [tableau.a[j][i] for j in range(count - 1, i, -1)]
                g = weighted((dt * tableau.b[i]) * adjoint, weights, products, dt)
                by_y, found = f.pull(constants, kept[i], g)
                products.append(by_y)
                gradient = tuple(a + b for a, b in zip(gradient, found, strict=True))
            for by_y in products:
                adjoint = adjoint + by_y
            return row, adjoint, *gradient

        _, *found = torch.while_loop(
            lambda row, *_: row > lowest, pull, (row.clone(), grad_y.clone(), *zeros)
        )
        return tuple(found)

    return adjoint


def quadrature_loop(
    f: CapturedField, nodes: Sequence[tuple[float, float]]
) -> Callable[..., tuple[Tensor, ...]]:
    """(steps, tape of lambda, tape of y, *parameters) -> -int lambda^T df/dtheta dt.

    By Gauss quadrature with these nodes and weights on [0, 1] over each step of lambda.
    """

    def quadrature(
        steps: Tensor, adjoint: Tape, y: Tape, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        count, steps_of_y = (x.clone() for x in steps.unbind())

        def add(row: Tensor, *gradient: Tensor) -> tuple[Tensor, ...]:
            constants = f.constants(parameters)
            start, end = pick(adjoint.times, row), pick(adjoint.times, row + 1)
            for fraction, weight in nodes:
                s = start + fraction * (end - start)
                v = adjoint.within(row, fraction)
                v = (-weight * (end - start)).to(v.dtype) * v
                _, saved = f.at(s.to(v.dtype), y.at(s, steps_of_y), parameters)
                _, found = f.pull(constants, saved, v)
                gradient = tuple(a + b for a, b in zip(gradient, found, strict=True))
            return row + 1, *gradient

        zeros = [torch.zeros_like(parameters[i]) for i in f.trained]
        zero = torch.zeros_like(count)
        _, *found = torch.while_loop(lambda row, *_: row < count, add, (zero, *zeros))
        return tuple(found)

    return quadrature
