"""Heads: from the core's state to one logit per class."""

from math import prod

from torch import nn

from node_cli.errors import UserError
from node_cli.models.shape import Shape


def linear(state: Shape, classes: int) -> nn.Sequential:
    """Flatten (a vector stays as it is) and Linear."""
    flatten = [nn.Flatten()] if len(state) > 1 else []
    return nn.Sequential(*flatten, nn.Linear(prod(state), classes))


def pool(state: Shape, classes: int) -> nn.Sequential:
    """GroupNorm, ReLU, mean over the image, Linear (DiffEqFlux.jl's tutorial)."""
    if len(state) != 3:
        raise UserError(f"model.head=pool: needs an image [C, H, W], but the core gives {[*state]}")
    channels = state[0]
    return nn.Sequential(
        nn.GroupNorm(channels, channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, classes),
    )


HEADS = {"linear": linear, "pool": pool}
