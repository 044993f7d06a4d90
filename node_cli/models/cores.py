"""The core that the configuration names, and the sensitivity method of an ODE block."""

from torch import nn

from node_cli.config.model import CorelessModel, OdeModel, PlainModel, ResidualModel
from node_cli.config.schema import Config
from node_cli.models.blocks import ODEBlock, PlainField, ResidualStack
from node_cli.models.fields import field
from node_cli.models.shape import Shape
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.sensitivity.methods import SENSITIVITIES

START = 0.0
"""The time at which f is seen where nothing is integrated, and where a trajectory begins."""


def core(config: Config, state: Shape) -> nn.Module:
    """Between a stem and a head. Raises ``UserError`` where the field does not fit."""
    match config.model:
        case CorelessModel():
            return nn.Identity()
        case ResidualModel() as model:
            return ResidualStack([field(model.field, state) for _ in range(model.blocks)], START)
        case PlainModel() as model:
            return PlainField(field(model.field, state), START)
        case OdeModel() as model:
            assert model.t0 is not None and model.t1 is not None
            return ode_block(config, state, model.t0, model.t1)


def ode_block(config: Config, state: Shape, t0: float, t1: float) -> ODEBlock:
    """Over [t0, t1]. Raises ``UserError`` where the field does not fit."""
    model = config.model
    assert isinstance(model, OdeModel), "no ODE"
    f = field(model.field, state)
    if config.sensitivity and config.sensitivity.vjp == "compiled":
        f.compile(fullgraph=True, dynamic=False)
    return ODEBlock(
        f,
        t0,
        t1,
        config.forward_solver(),
        sensitivity(config),
        functional=model.field_call == "functional",
    )


def sensitivity(config: Config) -> Sensitivity:
    """The method that the configuration names; ``discrete`` where it names none, to evaluate."""
    chosen = config.sensitivity
    traits = SENSITIVITIES[chosen.name if chosen else "discrete"]
    method: Sensitivity = traits.build(
        **(chosen.arguments(config.forward_solver()) if chosen else {})
    )
    return method
