"""Heads: from the core's state to one logit per class. To add one: a function, and a row below."""

from math import prod

from torch import nn

from node_cli.models.normalization import group_norm
from node_cli.models.parts import Part
from node_cli.models.shape import Shape


def linear(state: Shape, classes: int) -> nn.Sequential:
    """Flatten (a vector stays as it is) and Linear."""
    flatten = [nn.Flatten()] if len(state) > 1 else []
    return nn.Sequential(*flatten, nn.Linear(prod(state), classes))


def pool(state: Shape, classes: int) -> nn.Sequential:
    """GroupNorm of each channel, ReLU, mean over the image, Linear (DiffEqFlux.jl's tutorial)."""
    channels, _, _ = state
    return _pooled([nn.GroupNorm(channels, channels), nn.ReLU()], channels, classes)


def pool_gn(state: Shape, classes: int) -> nn.Sequential:
    """GroupNorm in 32 groups, ReLU, mean over the image, Linear (Chen et al. 2018)."""
    channels, _, _ = state
    return _pooled([group_norm(channels), nn.ReLU()], channels, classes)


def pool_bn(state: Shape, classes: int) -> nn.Sequential:
    """BatchNorm, mean over the image, Linear (a notebook after Surtsukov)."""
    channels, _, _ = state
    return _pooled([nn.BatchNorm2d(channels)], channels, classes)


def mean(state: Shape, classes: int) -> nn.Sequential:
    """Mean over the image, Linear (ResNet)."""
    channels, _, _ = state
    return _pooled([], channels, classes)


def _pooled(first: list[nn.Module], channels: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        *first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )


HEADS: dict[str, Part] = {
    "linear": Part(linear),
    "pool": Part(pool, "image"),
    "pool_gn": Part(pool_gn, "image"),
    "pool_bn": Part(pool_bn, "image"),
    "mean": Part(mean, "image"),
}
