"""Trajectories to fit: solutions of known equations with noise on every point, and windows of them.

All in float64 on the CPU, a function of the configuration and the seed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.config.data import TrajectoryData
from node_cli.data.catalog import TRAJECTORIES
from node_cli.data.streams import stream
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


def solution(name: str, times: Tensor, largest_step: float = LARGEST_STEP) -> Tensor:
    """The trajectory from ``START`` by Euler's method, each interval between two times in equal
    steps; [T, D]."""
    solver = Solver("euler", step_size=largest_step)
    stepper = Stepper(TRAJECTORIES[name], solver)
    start = torch.tensor(START, dtype=torch.float64)
    states, _ = solve.integrate(stepper, start, times, solver)
    return states


def load(config: TrajectoryData, seed: int) -> Trajectory:
    """``data.points`` points at equal distances on [0, ``data.end``]."""
    times = torch.linspace(0, config.end, config.points, dtype=torch.float64)
    states = solution(config.name, times)
    noise = torch.randn(states.shape, dtype=torch.float64, generator=stream(seed, "noise"))
    return Trajectory(times, states, states + config.noise * noise)


def window(trajectory: Trajectory, config: TrajectoryData, seed: int, step: int) -> Window:
    """What a training step, counted from 0, learns from: points strictly within an interval drawn
    at random, some of them where there are more than ``data.window_points``."""
    generator = stream(seed, "window", step)
    place, size = torch.rand(2, dtype=torch.float64, generator=generator).tolist()
    start = place * (config.end - config.window_longest)
    end = start + config.window_shortest
    end += size * (config.window_longest - config.window_shortest)
    within = ((trajectory.times > start) & (trajectory.times < end)).nonzero().squeeze(1)
    drawn = torch.randperm(len(within), generator=generator)[: config.window_points]
    chosen = within[drawn].sort().values
    return Window(trajectory.times[chosen], trajectory.observed[chosen].unsqueeze(1))
