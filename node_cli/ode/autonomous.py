"""f(y) = net(y): a right-hand side whose layers are known."""

from torch import Tensor, nn


class Autonomous(nn.Module):
    """f(y) = net(y), whatever the time.

    Where ``net`` is linear layers and activations, eager steps differentiate it without autograd
    (``engines.eager.layers``), which takes half the time of a small f.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.net(y)
        return dy
