"""Fields f(t, y), the right-hand sides of dy/dt = f(t, y); also what a residual block adds to y.

Every field is called with t 0-dim and y [N, *state], and returns a tensor shaped like y.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from node_cli.errors import UserError
from node_cli.models.shape import Shape
from node_cli.models.vector_fields import MLP, Linear


class Dense(nn.Module):
    """Linear d -> 10 -> 10 -> d, tanh after each; no time (Lux.jl's MNIST tutorial, d = 20)."""

    def __init__(self, state: Shape) -> None:
        super().__init__()
        if len(state) != 1:
            raise UserError(f"model.field=dense: needs a vector [D], but the stem gives {[*state]}")
        (width,) = state
        sizes = (width, 10, 10, width)
        self.net = nn.Sequential(
            *(
                layer
                for n_in, n_out in pairwise(sizes)
                for layer in (nn.Linear(n_in, n_out), nn.Tanh())
            )
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.net(y)
        return dy


class Conv(nn.Module):
    """Two 3x3 convolutions, tanh after each; no time (DiffEqFlux.jl's MNIST tutorial)."""

    def __init__(self, state: Shape) -> None:
        super().__init__()
        channels = _channels(state, "conv")
        self.net = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.net(y)
        return dy


class ConvTime(nn.Module):
    """Pre-activation GroupNorm convolutions, the time an extra channel of both (Chen et al. 2018).

    GroupNorm, ReLU, conv, GroupNorm, ReLU, conv, GroupNorm, with 32 groups.
    """

    def __init__(self, state: Shape) -> None:
        super().__init__()
        channels = _channels(state, "conv_time")
        self.norm1 = nn.GroupNorm(min(32, channels), channels)
        self.conv1 = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(min(32, channels), channels)
        self.conv2 = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.norm3 = nn.GroupNorm(min(32, channels), channels)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        y = self.conv1(_with_time(t, self.norm1(y).relu()))
        y = self.conv2(_with_time(t, self.norm2(y).relu()))
        dy: Tensor = self.norm3(y)
        return dy


class Preactivation(nn.Module):
    """GroupNorm, ReLU, conv, twice, without bias or time: the residual branch of Chen's ResNet."""

    def __init__(self, state: Shape) -> None:
        super().__init__()
        channels = _channels(state, "preactivation")
        self.net = nn.Sequential(
            nn.GroupNorm(min(32, channels), channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(min(32, channels), channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.net(y)
        return dy


def _with_time(t: Tensor, y: Tensor) -> Tensor:
    """Append t as one more channel of y [N, C, H, W]."""
    return torch.cat([y, t.to(y.dtype).expand(y.shape[0], 1, *y.shape[2:])], dim=1)


def _channels(state: Shape, name: str) -> int:
    if len(state) != 3:
        raise UserError(
            f"model.field={name}: needs an image [C, H, W], but the stem gives {[*state]}"
        )
    return state[0]


FIELDS: dict[str, type[nn.Module]] = {
    "dense": Dense,
    "conv": Conv,
    "conv_time": ConvTime,
    "preactivation": Preactivation,
    "linear": Linear,
    "mlp": MLP,
}
