"""Points in the plane, of two classes: the toy sets on which one can watch an ODE work."""

from collections.abc import Callable

import torch
from torch import Tensor

from node_cli.config.data import PointData
from node_cli.data.catalog import PLANE, POINTS
from node_cli.data.images import ImageSet
from node_cli.data.streams import stream

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]
"""Draws so many points, [N, 2], and their labels, [N]; without noise."""


def read(config: PointData, seed: int) -> tuple[ImageSet, ImageSet]:
    """Training and test points, as many of each; a function of the seed."""
    size = POINTS[config.name].train_images
    train, test = (
        _noisy(SETS[config.name], size, config.noise, stream(seed, "points", split))
        for split in ("train", "test")
    )
    return train, test


def _noisy(draw: Draw, size: int, noise: float, generator: torch.Generator) -> ImageSet:
    points, labels = draw(size, generator)
    points = points + noise * torch.randn(points.shape, generator=generator)
    return ImageSet((255 * points).reshape(-1, *PLANE), labels)


def moons(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two half circles that reach into each other, as those of scikit-learn, about the origin."""
    labels, angle = _halves(size), torch.pi * torch.rand(size, generator=generator)
    sign = 1.0 - 2 * labels
    x = sign * angle.cos() + labels - 0.5
    y = sign * angle.sin() + 0.5 * labels - 0.25
    return torch.stack([x, y], 1), labels


def circles(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two circles, one inside the other, which no flow in the plane can part."""
    labels, angle = _halves(size), 2 * torch.pi * torch.rand(size, generator=generator)
    radius = 1.25 - 0.75 * labels
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), labels


def spirals2d(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two spirals of one and a half turns, one half a turn ahead of the other."""
    labels, along = _halves(size), torch.rand(size, generator=generator).sqrt()
    angle = 3 * torch.pi * along + torch.pi * labels
    radius = 0.15 + 1.35 * along
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1), labels


def _halves(size: int) -> Tensor:
    """Labels of two classes, as many of each."""
    return torch.arange(size) % 2


SETS: dict[str, Draw] = {"moons": moons, "circles": circles, "spirals2d": spirals2d}
