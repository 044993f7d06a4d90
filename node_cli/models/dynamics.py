"""Second-order dynamics, as an ODE of first order whose state is the position and the velocity.

Both are halves of one state, [N, 2 D] or [N, 2 C, H, W], the position first.
"""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from node_cli.models.augment import Zeros, layer
from node_cli.models.shape import Shape

FIRST_DAMPING = -3.0
"""What the learned damping starts at, before the sigmoid: 0.047, as in the code of Xia et al."""


class SecondOrder(nn.Module):
    """y'' = f(t, y), as (y, v)' = (v, f(t, y)).

    Source: Norcliffe, Bodnar, Day, Simidjievski and Lio, "On second order behaviour in augmented
    neural ODEs", NeurIPS 2020; f does not see the velocity.
    """

    equation: ClassVar = "y'' = f(t, y)"

    def __init__(self, f: nn.Module) -> None:
        super().__init__()
        self.f = f

    def forward(self, t: Tensor, state: Tensor) -> Tensor:
        y, v = state.chunk(2, dim=1)
        return torch.cat([v, self.f(t, y)], dim=1)


class HeavyBall(nn.Module):
    """y'' = f(t, y) - c y', as (y, v)' = (v, f(t, y) - c v), c the damping.

    ``damping``: c; None: learned, the sigmoid of a parameter. Source: Xia, Suliafu, Ji, Nguyen,
    Bertozzi, Osher and Wang, "Heavy ball neural ordinary differential equations", NeurIPS 2021.
    """

    equation: ClassVar = "y'' = f(t, y) - c y'"

    def __init__(self, f: nn.Module, damping: float | None) -> None:
        super().__init__()
        self.f = f
        self.damping = damping
        if damping is None:
            self.weight = nn.Parameter(torch.tensor(FIRST_DAMPING))

    def forward(self, t: Tensor, state: Tensor) -> Tensor:
        y, v = state.chunk(2, dim=1)
        c = self.weight.sigmoid() if self.damping is None else self.damping
        return torch.cat([v, self.f(t, y) - c * v], dim=1)


class FromLayer(nn.Module):
    """Appends a velocity that a layer computes from the position."""

    def __init__(self, state: Shape) -> None:
        super().__init__()
        self.layer = layer(state, state[0])

    def forward(self, y: Tensor) -> Tensor:
        return torch.cat([y, self.layer(y)], dim=1)


class Position(nn.Module):
    """The position alone, of a state that is both."""

    def forward(self, state: Tensor) -> Tensor:
        return state.chunk(2, dim=1)[0]


def with_velocity(state: Shape, start: Literal["zeros", "layer"]) -> nn.Module:
    """What appends the velocity at t0 to a position of that shape."""
    return Zeros(state[0]) if start == "zeros" else FromLayer(state)
