"""The core that the configuration names, and the sensitivity method of an ODE block."""

from torch import nn

from node_cli.config.schema import Config
from node_cli.models.blocks import ODEBlock, PlainField, ResidualStack
from node_cli.models.fields import FIELDS
from node_cli.models.shape import Shape
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.sensitivity.methods import SENSITIVITIES

T0 = 0.0


def core(config: Config, state: Shape) -> nn.Module:
    """Between a stem and a head, over [0, 1]. Raises ``UserError`` where the field does not fit."""
    model = config.model
    if model.core == "none":
        return nn.Identity()
    assert model.field is not None, "refused when the configuration is checked"
    field = FIELDS[model.field]
    match model.core:
        case "residual":
            assert model.blocks is not None, "refused when the configuration is checked"
            return ResidualStack([field(state) for _ in range(model.blocks)], T0)
        case "plain":
            return PlainField(field(state), T0)
        case "ode":
            return ode_block(config, state, t1=1.0)


def ode_block(config: Config, state: Shape, t1: float) -> ODEBlock:
    """Over [0, t1]. Raises ``UserError`` where the field does not fit."""
    model = config.model
    assert model.field is not None, "refused when the configuration is checked"
    f = FIELDS[model.field](state)
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
    options = {}
    if chosen and traits.solves_backwards:
        options = {"norm": chosen.norm, "solver": config.backward_solver()}
    method: Sensitivity = traits.build(**options)
    return method
