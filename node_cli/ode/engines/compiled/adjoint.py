"""The adjoint of explicit Runge-Kutta steps as a compiled loop: the gradient of the numerical
solution."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.ode.engines.compiled.captured import CapturedField
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.engines.compiled.tape import Recording, Tape, pick, stages_per_step
from node_cli.ode.engines.formulas import just_before, stage_times, traced_sum
from node_cli.ode.problem import Gradients, Problem
from node_cli.ode.solver import Keep
from node_cli.ode.tableau import Tableau


@dataclass
class StepRecord:
    """Steps on a tape, with their stages or with their states alone; see ``engine.StepRecord``.

    Memory: the rows of the tape. ``keep``: ``stages`` or ``states``, of which stages are computed
    again.
    """

    problem: Problem
    owner: CompiledField
    recording: Recording
    keep: Keep

    @torch.no_grad()
    def pull_back(self, grad_y: Tensor) -> Gradients:
        problem, owner, recording = self.problem, self.owner, self.recording
        tableau = problem.solver.tableau
        f = owner.captured(problem.autocast, problem.y0)
        key = ("adjoint", owner.key(problem.autocast, problem.y0), problem.solver.name, self.keep)
        function = owner.function(
            key, grad_y.device, lambda: adjoint_loop(f, tableau), "the gradient of the steps", f
        )
        count_adjoint(problem, recording.count, self.keep)
        adjoint = grad_y[-1].contiguous()
        by_parameters: list[Tensor] = []
        jumps = reversed(grad_y[:-1].unbind())
        for (low, high), jump in zip(reversed(recording.spans), jumps, strict=True):
            rows = torch.tensor((low, high), device=grad_y.device)
            adjoint, *found = function(rows, adjoint, recording.tape, *f.parameters)
            adjoint = adjoint + jump  # contiguous, as its first term
            if by_parameters and found:
                found = list(torch._foreach_add(by_parameters, found))
            by_parameters = found
        return Gradients(None, adjoint, by_parameters)


def count_adjoint(problem: Problem, steps: int, keep: Keep) -> None:
    """Count a product for every stage, and an evaluation where stages are computed again."""
    products = steps * problem.solver.tableau.stages_of_result
    problem.work.vjps_backward += products
    if keep == "states":
        problem.work.evaluated(products, backward=True)


def adjoint_loop(f: CapturedField, tableau: Tableau) -> Callable[..., tuple[Tensor, ...]]:
    """(rows, adjoint, tape, *parameters) -> (dL/dy0, *dL/dtheta) over the steps of these rows.

    ``rows``: (2,), int64, the first one and the one after the last. ``adjoint``: dL/dy1 of the last
    step. What the products need is on the tape, or is computed again from its states. The twin of
    ``step_adjoint``, which has the equations and their source.
    """
    count = tableau.stages_of_result

    def adjoint(
        rows: Tensor, grad_y: Tensor, tape: Tape, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        lowest, row = rows.unbind()
        zeros = [torch.zeros_like(parameters[i]) for i in f.trained]

        def pull(row: Tensor, adjoint: Tensor, *gradient: Tensor) -> tuple[Tensor, ...]:
            row = row - 1
            dt = (pick(tape.times, row + 1) - pick(tape.times, row)).to(adjoint.dtype)
            kept = _kept_of_stages(f, tableau, row, dt, tape, parameters)
            constants = f.constants(parameters)  # views, which may not enter a loop from outside
            products: list[Tensor] = []
            for i in reversed(range(count)):
                weights = [tableau.a[j][i] for j in range(count - 1, i, -1)]
                g = traced_sum((dt * tableau.b[i]) * adjoint, weights, products, dt)
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


def _kept_of_stages(
    f: CapturedField,
    tableau: Tableau,
    row: Tensor,
    dt: Tensor,
    tape: Tape,
    parameters: Sequence[Tensor],
) -> list[list[Tensor]]:
    """What the products of a step's stages need, from the tape or computed again."""
    count = tableau.stages_of_result
    if tape.states is None:
        base = row * stages_per_step(tableau)
        return [[pick(x, base + i) for x in tape.stages] for i in range(count)]
    y = pick(tape.states, row)
    t0, t1 = pick(tape.times, row), pick(tape.times, row + 1)
    first = t0.to(y.dtype)
    if tableau.first_same_as_last:  # it was the last stage of the step before
        before = pick(tape.times, torch.clamp(row - 1, min=0))
        first = just_before(t0, before, y.dtype)
    times = [first, *(t.to(y.dtype) for t in stage_times(tableau, t0, t1, y.dtype))]
    slopes: list[Tensor] = []
    kept = []
    for i in range(count):
        slope, saved = f.at(times[i], traced_sum(y, tableau.a[i], slopes, dt), parameters)
        slopes.append(slope)
        kept.append(saved)
    return kept
