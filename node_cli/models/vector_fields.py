"""Fields of vectors [D], all without time."""

from itertools import pairwise

from torch import Tensor, nn

from node_cli.models.shape import Shape, width_of


class Autonomous(nn.Module):
    """f(y) = net(y), whatever the time."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.net(y)
        return dy


class Dense(Autonomous):
    """Linear d -> 10 -> 10 -> d, tanh after each (Lux.jl's MNIST tutorial, d = 20)."""

    def __init__(self, state: Shape) -> None:
        width = width_of(state, "model.field=dense")
        super().__init__(nn.Sequential(*_layers(width, 10, nn.Tanh)))


class DenseReLU(Autonomous):
    """Linear d -> 16 -> 16 -> d, ReLU after each (an article on Fashion-MNIST in Julia).

    Every dy/dt is at least 0, and f has kinks, which cost an adaptive solver rejected steps.
    """

    def __init__(self, state: Shape) -> None:
        width = width_of(state, "model.field=dense_relu")
        super().__init__(nn.Sequential(*_layers(width, 16, nn.ReLU)))


class Linear(Autonomous):
    """W y, the entries of W drawn with standard deviation 1/2 (``model.init=torch``)."""

    def __init__(self, state: Shape) -> None:
        width = width_of(state, "model.field=linear")
        net = nn.Linear(width, width, bias=False)
        nn.init.normal_(net.weight, std=0.5)
        super().__init__(net)


class MLP(Autonomous):
    """Linear d -> 16 -> 16 -> d, ELU after the first two."""

    def __init__(self, state: Shape) -> None:
        width = width_of(state, "model.field=mlp")
        super().__init__(nn.Sequential(*_layers(width, 16, nn.ELU)[:-1]))


def _layers(width: int, hidden: int, activation: type[nn.Module]) -> list[nn.Module]:
    """Linear width -> hidden -> hidden -> width, the activation after each."""
    sizes = (width, hidden, hidden, width)
    return [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), activation())]
