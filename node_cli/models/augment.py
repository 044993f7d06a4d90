"""More room for the state than its start needs: augmented Neural ODEs."""

from typing import Literal

import torch
from torch import Tensor, nn

from node_cli.models.shape import Shape


class Zeros(nn.Module):
    """Appends zeros to a state: ``count`` dimensions to a vector, or channels to an image.

    Trajectories of an ODE never cross; with more dimensions they need not (Dupont, Doucet and Teh,
    "Augmented Neural ODEs", NeurIPS 2019). Cost: f works on a larger state.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, y: Tensor) -> Tensor:
        return torch.cat([y, y.new_zeros(y.shape[0], self.count, *y.shape[2:])], dim=1)


def layer(state: Shape, channels: int) -> nn.Module:
    """From a state to one of so many dimensions, by a linear layer, or channels, by a 3x3
    convolution (input-layer augmentation: Massaroli, Poli, Park, Yamashita and Asama, "Dissecting
    Neural ODEs", NeurIPS 2020)."""
    if len(state) == 1:
        return nn.Linear(*state, channels)
    return nn.Conv2d(state[0], channels, 3, padding=1)


def augment(state: Shape, count: int, by: Literal["zeros", "layer"]) -> tuple[nn.Module, Shape]:
    """What augments a state by ``count`` dimensions or channels, and the shape of its result."""
    first, *rest = state
    added = Zeros(count) if by == "zeros" else layer(state, first + count)
    return added, (first + count, *rest)
