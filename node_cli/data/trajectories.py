"""Trajectories to fit: solutions of known equations with noise on every point, and windows of them.

All in float64 on the CPU, a function of the configuration and the seed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.config.messages import not_among
from node_cli.config.schema import DataConfig
from node_cli.data.streams import stream
from node_cli.errors import UserError
from node_cli.ode.engines.eager import solve
from node_cli.ode.engines.eager.step import Stepper
from node_cli.ode.solver import Solver

START = (0.6, 0.3)
LARGEST_STEP = 0.05  # of Euler's method, which makes the true trajectories


@dataclass(frozen=True)
class Trajectory:
    """``times``: [T]. ``states`` and, with the noise, ``observed``: [T, D]."""

    times: Tensor
    states: Tensor
    observed: Tensor


@dataclass(frozen=True)
class Window:
    """A part of N trajectories. ``times``: [T], increasing; ``states``: as observed, [T, N, D]."""

    times: Tensor
    states: Tensor

    def __len__(self) -> int:
        return self.states.shape[1]


def linear(t: Tensor, y: Tensor) -> Tensor:
    """A y, a spiral into the origin; y: [D]."""
    return _matrix(-0.1, -1.0, 1.0, -0.1) @ y


def nonlinear(t: Tensor, y: Tensor) -> Tensor:
    """A spiral about each of two points, x0 and -x0: where s = y . x0 is large the field is
    A (y - x0), where it is small B (y + x0), in between their mean weighted by sigmoid(s)."""
    x0 = torch.tensor([-1.0, 0.0], dtype=torch.float64)
    near = (y @ x0).sigmoid()
    first = _matrix(-0.1, -0.5, 0.5, -0.1) @ (y - x0)
    second = _matrix(0.2, 1.0, -1.0, 0.2) @ (y + x0)
    return near * first + (1 - near) * second


def _matrix(*entries: float) -> Tensor:
    return torch.tensor(entries, dtype=torch.float64).view(2, 2)


TRUE_FIELDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "spiral_linear": linear,
    "spiral_nonlinear": nonlinear,
}


def check(config: DataConfig) -> None:
    """Raises ``UserError`` for an unknown name."""
    if config.name not in TRUE_FIELDS:
        raise UserError(not_among("data.name", config.name, TRUE_FIELDS))


def solution(name: str, times: Tensor, largest_step: float = LARGEST_STEP) -> Tensor:
    """The trajectory from ``START`` by Euler's method, each interval between two times in equal
    steps; [T, D]."""
    solver = Solver("euler", step_size=largest_step)
    stepper = Stepper(TRUE_FIELDS[name], solver)
    start = torch.tensor(START, dtype=torch.float64)
    states, _ = solve.integrate(stepper, start, times, solver)
    return states


def load(config: DataConfig, seed: int) -> Trajectory:
    """``data.points`` points at equal distances on [0, ``data.end``]."""
    assert config.points and config.end and config.noise is not None, "checked"
    times = torch.linspace(0, config.end, config.points, dtype=torch.float64)
    states = solution(config.name, times)
    noise = torch.randn(states.shape, dtype=torch.float64, generator=stream(seed, "noise"))
    return Trajectory(times, states, states + config.noise * noise)


def window(trajectory: Trajectory, config: DataConfig, seed: int, step: int) -> Window:
    """What a training step, counted from 0, learns from: points strictly within an interval drawn
    at random, some of them where there are more than ``data.window_points``."""
    assert config.end and config.window_points, "checked"
    assert config.window_shortest and config.window_longest, "checked"
    generator = stream(seed, "window", step)
    place, size = torch.rand(2, dtype=torch.float64, generator=generator).tolist()
    start = place * (config.end - config.window_longest)
    end = start + config.window_shortest
    end += size * (config.window_longest - config.window_shortest)
    within = ((trajectory.times > start) & (trajectory.times < end)).nonzero().squeeze(1)
    drawn = torch.randperm(len(within), generator=generator)[: config.window_points]
    chosen = within[drawn].sort().values
    return Window(trajectory.times[chosen], trajectory.observed[chosen].unsqueeze(1))
