"""Small fields of vectors without time, for the fitting of trajectories."""

from torch import Tensor, nn

from node_cli.models.shape import Shape, width_of

HIDDEN = 16


class Linear(nn.Module):
    """W y, the entries of W drawn with standard deviation 1/2 (``model.init=torch``)."""

    def __init__(self, state: Shape) -> None:
        super().__init__()
        width = width_of(state, "model.field=linear")
        self.net = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.net.weight, std=0.5)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.net(y)
        return dy


class MLP(nn.Module):
    """Linear d -> 16 -> 16 -> d, ELU after the first two."""

    def __init__(self, state: Shape) -> None:
        super().__init__()
        width = width_of(state, "model.field=mlp")
        self.net = nn.Sequential(
            nn.Linear(width, HIDDEN),
            nn.ELU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ELU(),
            nn.Linear(HIDDEN, width),
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.net(y)
        return dy
