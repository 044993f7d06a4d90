"""Stems: from an image [C, H, W] to the state that the core transforms."""

from math import prod

from torch import nn

from node_cli.models.shape import Shape


def dense(image: Shape) -> nn.Sequential:
    """Flatten, Linear to 20, tanh: the state is [20] (Lux.jl's MNIST tutorial)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(image), 20), nn.Tanh())


def hidden(image: Shape) -> nn.Sequential:
    """Flatten, Linear to 300, ReLU: the hidden layer of the MLP in Chen et al. 2018, Table 1."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(image), 300), nn.ReLU())


def conv(image: Shape) -> nn.Sequential:
    """Three convolutions with GroupNorm, down to 64 channels at a quarter of the size.

    [64, 6, 6] for a 28x28 image (DiffEqFlux.jl's convolutional MNIST tutorial).
    """
    return nn.Sequential(
        nn.Conv2d(image[0], 64, 3),
        nn.ReLU(),
        nn.GroupNorm(64, 64),
        nn.Conv2d(64, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.GroupNorm(64, 64),
        nn.Conv2d(64, 64, 4, stride=2, padding=1),
    )


STEMS = {"dense": dense, "hidden": hidden, "conv": conv}
