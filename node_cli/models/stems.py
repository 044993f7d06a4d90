"""Stems: from an image [C, H, W] to the state that the core transforms.

To add one: a function, and a row below.
"""

from collections.abc import Callable
from math import prod

from torch import nn

from node_cli.models.fields import Width
from node_cli.models.parts import Part
from node_cli.models.shape import Shape


def dense(image: Shape) -> nn.Sequential:
    """Flatten, Linear to 20, tanh: the state is [20] (Lux.jl's MNIST tutorial)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(image), 20), nn.Tanh())


def hidden(image: Shape) -> nn.Sequential:
    """Flatten, Linear to 300, ReLU: the hidden layer of the MLP in Chen et al. 2018, Table 1."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(image), 300), nn.ReLU())


def conv_flat(image: Shape) -> nn.Sequential:
    """One 3x3 convolution to 3 channels, ReLU, flatten: [2028] for a 28x28 image (an article on
    Fashion-MNIST in Julia)."""
    return nn.Sequential(nn.Conv2d(image[0], 3, 3), nn.ReLU(), nn.Flatten())


def conv(image: Shape) -> nn.Sequential:
    """ReLU, then GroupNorm of each channel, after two of three convolutions (DiffEqFlux.jl's
    convolutional MNIST tutorial)."""
    return _three_convolutions(image, lambda: [nn.ReLU(), nn.GroupNorm(64, 64)])


def conv_gn(image: Shape) -> nn.Sequential:
    """GroupNorm in 32 groups, then ReLU, after two of three convolutions (Chen et al. 2018)."""
    return _three_convolutions(image, lambda: [nn.GroupNorm(32, 64), nn.ReLU()])


def conv_bn(image: Shape) -> nn.Sequential:
    """BatchNorm, then ReLU, after two of three convolutions (a notebook after Surtsukov)."""
    return _three_convolutions(image, lambda: [nn.BatchNorm2d(64), nn.ReLU()])


def conv3(image: Shape, *, channels: Width = 64) -> nn.Sequential:
    """One 3x3 convolution without bias, BatchNorm, ReLU, at the size of the image (ResNet on
    CIFAR)."""
    return nn.Sequential(
        nn.Conv2d(image[0], channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


def pixels(image: Shape) -> nn.Identity:
    """None: the image itself is the state (Dupont et al. 2019)."""
    return nn.Identity()


def flat(image: Shape) -> nn.Flatten:
    """Flatten: the pixels, of a point its coordinates, are the state (Kelly et al. 2020)."""
    return nn.Flatten()


def _three_convolutions(image: Shape, between: Callable[[], list[nn.Module]]) -> nn.Sequential:
    """Down to 64 channels at a quarter of the size: [64, 6, 6] for a 28x28 image."""
    return nn.Sequential(
        nn.Conv2d(image[0], 64, 3),
        *between(),
        nn.Conv2d(64, 64, 4, stride=2, padding=1),
        *between(),
        nn.Conv2d(64, 64, 4, stride=2, padding=1),
    )


STEMS: dict[str, Part] = {
    "dense": Part(dense, "image"),
    "hidden": Part(hidden, "image"),
    "conv_flat": Part(conv_flat, "image"),
    "conv": Part(conv, "image"),
    "conv_gn": Part(conv_gn, "image"),
    "conv_bn": Part(conv_bn, "image"),
    "conv3": Part(conv3, "image"),
    "pixels": Part(pixels, "image"),
    "flat": Part(flat, "image"),
}
