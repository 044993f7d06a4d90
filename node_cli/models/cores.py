"""The core that the configuration names, and the sensitivity method of an ODE block."""

from torch import nn

from node_cli.config.model import CorelessModel, OdeModel, PlainModel, ResidualModel
from node_cli.config.schema import Config
from node_cli.models.blocks import ODEBlock, PlainField, ResidualStack
from node_cli.models.fields import field
from node_cli.models.shape import Shape
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.sensitivity.methods import SENSITIVITIES

T0 = 0.0


def core(config: Config, state: Shape) -> nn.Module:
    """Between a stem and a head, over [0, 1]. Raises ``UserError`` where the field does not fit."""
    match config.model:
        case CorelessModel():
            return nn.Identity()
        case ResidualModel() as model:
            return ResidualStack([field(model.field, state) for _ in range(model.blocks)], T0)
        case PlainModel() as model:
            return PlainField(field(model.field, state), T0)
        case OdeModel():
            return ode_block(config, state, t1=1.0)


def ode_block(config: Config, state: Shape, t1: float) -> ODEBlock:
    """Over [0, t1]. Raises ``UserError`` where the field does not fit."""
    model = config.model
    assert isinstance(model, OdeModel), "no ODE"
    f = field(model.field, state)
    if config.sensitivity and config.sensitivity.vjp == "compiled":
        f.compile(fullgraph=True, dynamic=False)
    return ODEBlock(
        f,
        T0,
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
