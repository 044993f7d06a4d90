"""One step by itself, which autograd differentiates."""

import math

import torch
from torch import Tensor

from node_cli.ode.engines.eager.step import Stage, plain, stages_of_step
from node_cli.ode.engines.formulas import Floats, stage_times, weighted_sum
from node_cli.ode.engines.step_control import change_of_size, first_size, probing_size, usable
from node_cli.ode.field import Field, no_autocast
from node_cli.ode.norms import rms_norm
from node_cli.ode.penalties import StageValues, error_of_step
from node_cli.ode.solver import Solver
from node_cli.ode.transfer import scalar, vector

MOST_TRIES = 4
MUCH = 1.5  # a change of the size after which to look again


def single_step(f: Field, solver: Solver, t: float, y: Tensor, end: float) -> StageValues:
    """A step of an adaptive method from y at t towards ``end``, and no further, with a graph.

    Its size is a constant: that at which the solver's controller would leave it. Cost: one
    evaluation of f for each stage, and as many without a graph for each of at most four tries.
    """
    with no_autocast(y.device.type):
        first = plain(f)(scalar(t, y), y)
        with torch.no_grad():
            begin = Stage(first.t, y.detach(), first.k.detach())
            dt = _size(f, solver, t, begin, end)
        return _step(f, solver, t, first, dt)


def _size(f: Field, solver: Solver, t: float, begin: Stage, end: float) -> float:
    """The size of the initial-step heuristic, after the controller has changed it as often as it
    changes it much: the heuristic's own is so short that the estimated error is mere rounding."""
    dt = _first_size(f, solver, t, begin.y, begin.k, end)
    for _ in range(MOST_TRIES):
        error = error_of_step(solver, _step(f, solver, t, begin, dt))
        factor, _ = change_of_size(solver, usable(float(error)), 1.0)
        dt, before = math.copysign(min(factor * abs(dt), abs(end - t)), dt), dt
        if abs(dt) < MUCH * abs(before) and error <= 1:
            break
    return dt


def _step(f: Field, solver: Solver, t: float, first: Stage, dt: float) -> StageValues:
    tableau = solver.tableau
    times = [t, *stage_times(tableau, t, t + dt, first.y.dtype)]
    moments = vector(times, first.y).unbind()
    stages = stages_of_step(plain(f), tableau, first, moments, dt, tableau.stages)
    slopes = [stage.k for stage in stages]
    y1 = stages[-1].y
    if not tableau.first_same_as_last:
        y1 = weighted_sum(first.y, [b * dt for b in tableau.b], slopes)
    return StageValues([stage.y for stage in stages], slopes, y1, dt)


@torch.no_grad()
def _first_size(f: Field, solver: Solver, t: float, y: Tensor, k: Tensor, end: float) -> float:
    """``first_size`` in the direction of ``end``, at most up to there."""
    assert solver.rtol is not None and solver.atol is not None
    scale = solver.atol + solver.rtol * y.abs()
    d1 = float(rms_norm(k / scale))
    h0: float = probing_size(float(rms_norm(y / scale)), d1)
    length = abs(end - t)
    h = (end - t) / length * h0
    probed = f(scalar(t + h, y), torch.add(y, k, alpha=h))
    d2 = Floats.divide(float(rms_norm((probed - k) / scale)), h0)
    return (end - t) / length * min(float(first_size(h0, d1, d2, solver.tableau.order)), length)
