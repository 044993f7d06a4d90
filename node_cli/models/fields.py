"""Fields f(t, y), the right-hand sides of dy/dt = f(t, y); also what a residual block adds to y.

Every field is called with t 0-dim and y [N, *state], and returns a tensor shaped like y. Here are
those of images [C, H, W], and the names of all.
"""

import torch
from torch import Tensor, nn

from node_cli.models.shape import Shape, channels_of
from node_cli.models.vector_fields import MLP, Autonomous, Dense, DenseReLU, Linear


class Conv(Autonomous):
    """Two 3x3 convolutions, tanh after each; no time (DiffEqFlux.jl's MNIST tutorial)."""

    def __init__(self, state: Shape) -> None:
        channels = channels_of(state, "model.field=conv")
        super().__init__(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.Tanh(),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.Tanh(),
            )
        )


class ConvTime(nn.Module):
    """Pre-activation GroupNorm convolutions, the time an extra channel of both (Chen et al. 2018).

    GroupNorm, ReLU, conv, GroupNorm, ReLU, conv, GroupNorm, with 32 groups.
    """

    def __init__(self, state: Shape) -> None:
        super().__init__()
        channels = channels_of(state, "model.field=conv_time")
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


class ConvBatchNormTime(nn.Module):
    """Conv without bias, ReLU, BatchNorm, twice, the time an extra channel of both convolutions
    (a notebook after Surtsukov). Every evaluation in training updates the running statistics."""

    def __init__(self, state: Shape) -> None:
        super().__init__()
        channels = channels_of(state, "model.field=conv_bn_time")
        self.conv1 = nn.Conv2d(channels + 1, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels + 1, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        y = self.norm1(self.conv1(_with_time(t, y)).relu())
        dy: Tensor = self.norm2(self.conv2(_with_time(t, y)).relu())
        return dy


class Preactivation(Autonomous):
    """GroupNorm, ReLU, conv, twice, without bias or time: the residual branch of Chen's ResNet."""

    def __init__(self, state: Shape) -> None:
        channels = channels_of(state, "model.field=preactivation")
        super().__init__(
            nn.Sequential(
                nn.GroupNorm(min(32, channels), channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.GroupNorm(min(32, channels), channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            )
        )


def _with_time(t: Tensor, y: Tensor) -> Tensor:
    """Append t as one more channel of y [N, C, H, W]."""
    return torch.cat([y, t.to(y.dtype).expand(y.shape[0], 1, *y.shape[2:])], dim=1)


FIELDS: dict[str, type[nn.Module]] = {
    "dense": Dense,
    "dense_relu": DenseReLU,
    "linear": Linear,
    "mlp": MLP,
    "conv": Conv,
    "conv_time": ConvTime,
    "conv_bn_time": ConvBatchNormTime,
    "preactivation": Preactivation,
}
