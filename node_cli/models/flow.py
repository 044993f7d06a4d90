"""A flow is a core alone: the solution of an ODE at any times."""

from torch import Tensor

from node_cli.config.schema import Config
from node_cli.models.blocks import ODEBlock
from node_cli.models.cores import START, ode_block
from node_cli.models.model import Model, glorot
from node_cli.models.shape import Shape


class Flow(Model):
    """States [N, *state] at t[0], and times t [T], to the states at all of them, [T, N, *state].

    ``t``: float64, strictly increasing or decreasing, T >= 2. Raises ``SolveFailed``.
    """

    core: ODEBlock

    def __init__(self, core: ODEBlock) -> None:
        super().__init__()
        self.core = core

    def forward(self, y0: Tensor, t: Tensor) -> Tensor:
        return self.core.at(y0, t)


def build(config: Config, state: Shape, end: float) -> Flow:
    """The flow that the configuration names, weights drawn from torch's global generator.

    ``end``: the last time of interest, at which the forward pass of the core alone ends. Raises
    ``UserError`` for an unknown field, or one that does not fit the state.
    """
    flow = Flow(ode_block(config, config.model.field, state, START, end))
    if config.model.init == "glorot":
        flow.apply(glorot)
    return flow
