"""Fields f(t, y), the right-hand sides of dy/dt = f(t, y); also what a residual block adds to y.

Every field is made for the shape of a state, is called with t 0-dim and y [N, *state], and returns
a tensor shaped like y. Its keyword arguments are its options. To add one: its class, and a row in
the table at the end.
"""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from node_cli.config.model import ModelConfig
from node_cli.models.activations import ACTIVATIONS, Activation
from node_cli.models.normalization import group_norm
from node_cli.models.parts import Part, make
from node_cli.models.shape import Shape
from node_cli.ode.autonomous import Autonomous

Width = Annotated[int, Field(ge=1, le=100_000)]
"""Units, or channels, of a hidden layer."""

Depth = Annotated[int, Field(ge=1, le=1_000)]
"""The number of hidden layers."""


class Dense(Autonomous):
    """Linear d -> 10 -> 10 -> d, tanh after each (Lux.jl's MNIST tutorial, d = 20)."""

    def __init__(
        self, state: Shape, *, width: Width = 10, depth: Depth = 2, activation: Activation = "tanh"
    ) -> None:
        super().__init__(nn.Sequential(*_layers(state, width, depth, activation)))


class DenseTime(nn.Module):
    """Linear d + 1 -> 100, tanh, Linear 101 -> d, tanh, the time an extra input of both layers
    (Kelly et al. 2020, Pal et al. 2021)."""

    def __init__(
        self, state: Shape, *, width: Width = 100, activation: Activation = "tanh"
    ) -> None:
        super().__init__()
        (d,) = state
        self.linear1 = nn.Linear(d + 1, width)
        self.linear2 = nn.Linear(width + 1, d)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        y = self.activation(self.linear1(_with_time(t, y)))
        dy: Tensor = self.activation(self.linear2(_with_time(t, y)))
        return dy


class DenseReLU(Autonomous):
    """Linear d -> 16 -> 16 -> d, ReLU after each (an article on Fashion-MNIST in Julia).

    Every dy/dt is at least 0, and f has kinks, which cost an adaptive solver rejected steps.
    """

    def __init__(
        self, state: Shape, *, width: Width = 16, depth: Depth = 2, activation: Activation = "relu"
    ) -> None:
        super().__init__(nn.Sequential(*_layers(state, width, depth, activation)))


class Linear(Autonomous):
    """W y, the entries of W drawn with standard deviation 1/2 (``model.init=torch``)."""

    def __init__(self, state: Shape) -> None:
        (width,) = state
        net = nn.Linear(width, width, bias=False)
        nn.init.normal_(net.weight, std=0.5)
        super().__init__(net)


class MLP(Autonomous):
    """Linear d -> 16 -> 16 -> d, ELU after the first two."""

    def __init__(
        self, state: Shape, *, width: Width = 16, depth: Depth = 2, activation: Activation = "elu"
    ) -> None:
        super().__init__(nn.Sequential(*_layers(state, width, depth, activation)[:-1]))


class MLPTanh(Autonomous):
    """Linear d -> 32 -> d, tanh after the first: smooth, for points in the plane."""

    def __init__(
        self, state: Shape, *, width: Width = 32, depth: Depth = 1, activation: Activation = "tanh"
    ) -> None:
        super().__init__(nn.Sequential(*_layers(state, width, depth, activation)[:-1]))


class Conv(Autonomous):
    """Two 3x3 convolutions, tanh after each; no time (DiffEqFlux.jl's MNIST tutorial)."""

    def __init__(self, state: Shape, *, activation: Activation = "tanh") -> None:
        channels, _, _ = state
        super().__init__(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1),
                ACTIVATIONS[activation](),
                nn.Conv2d(channels, channels, 3, padding=1),
                ACTIVATIONS[activation](),
            )
        )


class ConvTime(nn.Module):
    """Pre-activation GroupNorm convolutions, the time an extra channel of both (Chen et al. 2018).

    GroupNorm, ReLU, conv, GroupNorm, ReLU, conv, GroupNorm, with 32 groups.
    """

    def __init__(self, state: Shape, *, activation: Activation = "relu") -> None:
        super().__init__()
        channels, _, _ = state
        self.norm1 = group_norm(channels)
        self.activation = ACTIVATIONS[activation]()
        self.conv1 = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.norm2 = group_norm(channels)
        self.conv2 = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.norm3 = group_norm(channels)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        y = self.conv1(_with_time(t, self.activation(self.norm1(y))))
        y = self.conv2(_with_time(t, self.activation(self.norm2(y))))
        dy: Tensor = self.norm3(y)
        return dy


class ConvBatchNormTime(nn.Module):
    """Conv without bias, ReLU, BatchNorm, twice, the time an extra channel of both convolutions
    (a notebook after Surtsukov). Every evaluation in training updates the running statistics."""

    def __init__(self, state: Shape, *, activation: Activation = "relu") -> None:
        super().__init__()
        channels, _, _ = state
        self.conv1 = nn.Conv2d(channels + 1, channels, 3, padding=1, bias=False)
        self.activation = ACTIVATIONS[activation]()
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels + 1, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        y = self.norm1(self.activation(self.conv1(_with_time(t, y))))
        dy: Tensor = self.norm2(self.activation(self.conv2(_with_time(t, y))))
        return dy


class Preactivation(Autonomous):
    """GroupNorm, ReLU, conv, twice, without bias or time: the residual branch of Chen's ResNet."""

    def __init__(self, state: Shape, *, activation: Activation = "relu") -> None:
        channels, _, _ = state
        super().__init__(
            nn.Sequential(
                group_norm(channels),
                ACTIVATIONS[activation](),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                group_norm(channels),
                ACTIVATIONS[activation](),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            )
        )


class ConvBatchNorm(Autonomous):
    """Conv, ReLU, BatchNorm, twice (ContinuousNet, Queiruga et al. 2020)."""

    def __init__(self, state: Shape, *, activation: Activation = "relu") -> None:
        channels, _, _ = state
        layers = (
            (
                nn.Conv2d(channels, channels, 3, padding=1),
                ACTIVATIONS[activation](),
                nn.BatchNorm2d(channels),
            )
            for _ in range(2)
        )
        super().__init__(nn.Sequential(*(layer for three in layers for layer in three)))


class BasicBlock(Autonomous):
    """Conv, BatchNorm, ReLU, twice, without bias: the branch of a basic block of ResNet18 (NODE18,
    Zhuang et al. 2020)."""

    def __init__(self, state: Shape, *, activation: Activation = "relu") -> None:
        channels, _, _ = state
        layers = (
            (
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                ACTIVATIONS[activation](),
            )
            for _ in range(2)
        )
        super().__init__(nn.Sequential(*(layer for three in layers for layer in three)))


class Filters(nn.Module):
    """Convolutions 1x1, 3x3, 1x1 through ``width`` filters, ReLU between them, the time an extra
    channel of each (Dupont et al. 2019)."""

    def __init__(self, state: Shape, *, width: Width = 64, activation: Activation = "relu") -> None:
        super().__init__()
        channels, _, _ = state
        self.conv1 = nn.Conv2d(channels + 1, width, 1)
        self.conv2 = nn.Conv2d(width + 1, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width + 1, channels, 1)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        y = self.activation(self.conv1(_with_time(t, y)))
        y = self.activation(self.conv2(_with_time(t, y)))
        dy: Tensor = self.conv3(_with_time(t, y))
        return dy


def _with_time(t: Tensor, y: Tensor) -> Tensor:
    """Append t as one more coordinate of y [N, D], or channel of y [N, C, H, W]."""
    return torch.cat([y, t.to(y.dtype).expand(y.shape[0], 1, *y.shape[2:])], dim=1)


def _layers(state: Shape, width: int, depth: int, activation: Activation) -> list[nn.Module]:
    """Linear d -> width -> ... -> width -> d, with ``depth`` hidden layers, the activation after
    each."""
    (d,) = state
    sizes = (d, *(width for _ in range(depth)), d)
    return [
        layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), ACTIVATIONS[activation]())
    ]


FIELDS: dict[str, Part] = {
    "dense": Part(Dense, "vector"),
    "dense_relu": Part(DenseReLU, "vector"),
    "dense_time": Part(DenseTime, "vector"),
    "linear": Part(Linear, "vector"),
    "mlp": Part(MLP, "vector"),
    "mlp_tanh": Part(MLPTanh, "vector"),
    "conv": Part(Conv, "image"),
    "conv_time": Part(ConvTime, "image"),
    "conv_bn_time": Part(ConvBatchNormTime, "image"),
    "conv_bn": Part(ConvBatchNorm, "image"),
    "basic_block": Part(BasicBlock, "image"),
    "filters_time": Part(Filters, "image"),
    "preactivation": Part(Preactivation, "image"),
}


def field(model: ModelConfig, name: str | None, state: Shape) -> nn.Module:
    """The field of that name for states [*state], weights drawn from torch's global generator.

    Where it is that of the model, with the options of the model, else with its defaults.

    Raises ``UserError`` where there is none, or it does not take such states.
    """
    options = model.field_options if name == model.field else {}
    return make("field", FIELDS, name, options, state, after="stem")
