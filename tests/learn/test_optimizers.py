"""Optimizers: two steps of each, worked out by hand."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from node_cli.config.schema import Config
from node_cli.learn.optimizers import optimizer

Configure = Callable[..., Config]
LR, DECAY, MOMENTUM = 0.3, 0.1, 0.8
START, GRADIENTS = 2.0, [0.5, -0.25]


def adam(decay: float, decoupled: bool) -> Iterator[float]:
    """Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2."""
    p, m, v = START, 0.0, 0.0
    for t, gradient in enumerate(GRADIENTS, 1):
        g = gradient if decoupled else gradient + decay * p
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        direction = m / (1 - 0.9**t) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-8)
        p -= LR * (direction + (decay * p if decoupled else 0))
        yield p


def sgd(decay: float, momentum: float, *, nesterov: bool = False) -> Iterator[float]:
    p, velocity = START, 0.0
    for gradient in GRADIENTS:
        velocity = momentum * velocity + gradient + decay * p
        ahead = gradient + decay * p + momentum * velocity
        p -= LR * (ahead if nesterov else velocity)
        yield p


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["adam"], adam(0, decoupled=False)),
        (["adam", f"weight_decay={DECAY}"], adam(DECAY, decoupled=False)),
        (["adamw", f"weight_decay={DECAY}"], adam(DECAY, decoupled=True)),
        (["adamw", "weight_decay=0"], adam(0, decoupled=True)),
        (["sgd", "momentum=0"], sgd(0, momentum=0)),
        (["sgd", f"momentum={MOMENTUM}"], sgd(0, MOMENTUM)),
        (["sgd", f"momentum={MOMENTUM}", f"weight_decay={DECAY}"], sgd(DECAY, MOMENTUM)),
        (["sgd", f"momentum={MOMENTUM}", "nesterov=true"], sgd(0, MOMENTUM, nesterov=True)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_two_steps_by_hand(
    configure: Configure, options: list[str], expected: Iterator[float]
) -> None:
    name, *rest = options
    typed = [f"optimizer.{option}" for option in (f"lr={LR}", *rest)]
    parameter = nn.Parameter(torch.tensor(START, dtype=torch.float64))
    opt = optimizer(configure(f"optimizer={name}", *typed).optimizer, [parameter])
    found = []
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        opt.step()
        found.append(parameter.item())
    assert found == pytest.approx(list(expected), rel=1e-12)
