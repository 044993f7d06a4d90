"""What one evaluation of f takes, and one of its vector-Jacobian products, without any solver."""

import time
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from node_cli.machine.device import Backend
from node_cli.models.blocks import ODEBlock

ROUNDS, LEAST_SECONDS = 5, 0.02  # of each, which calls are repeated for
CALLS = 10  # between two looks at the time


class BareCost(NamedTuple):
    """Seconds of an evaluation of f with its graph, and of a product with it, by y and by the
    parameters."""

    evaluation: float
    product: float


def bare_cost(block: ODEBlock, y: Tensor, backend: Backend) -> BareCost:
    """Measure f of a block at a state y [N, *state], where the block begins."""
    t = torch.full((), block.t0, dtype=y.dtype, device=y.device)
    y = y.clone().requires_grad_()
    inputs = [y, *(p for p in block.field.parameters() if p.requires_grad)]
    v = torch.ones_like(y)

    def evaluate() -> Tensor:
        with torch.enable_grad(), backend.autocast():
            dy: Tensor = block.field(t, y)
            return dy.to(y.dtype)

    def both() -> None:
        torch.autograd.grad(evaluate(), inputs, v, allow_unused=True)

    both()  # warms up
    alone = _seconds(evaluate, y.device)
    return BareCost(alone, max(0.0, _seconds(both, y.device) - alone))


def _seconds(compute: Callable[[], object], device: torch.device) -> float:
    """Of one call, the median of some rounds of calls."""
    rounds = []
    for _ in range(ROUNDS):
        calls, passed, start = 0, 0.0, _now(device)
        while not calls or passed < LEAST_SECONDS:
            for _ in range(CALLS):
                compute()
            calls += CALLS
            passed = _now(device) - start
        rounds.append(passed / calls)
    return median(rounds)


def _now(device: torch.device) -> float:
    """The time when the device has done all that it was told to."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()
    return time.perf_counter()
