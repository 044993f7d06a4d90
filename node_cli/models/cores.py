"""The core that the configuration names, and the sensitivity method of an ODE block."""

from itertools import pairwise

from torch import nn

from node_cli.config.model import (
    CoreModel,
    HeavyBallModel,
    OdeModel,
    PlainModel,
    ResidualModel,
    SecondOrderModel,
)
from node_cli.config.schema import Config
from node_cli.models.augment import augment
from node_cli.models.blocks import Chain, ODEBlock, PlainField, ResidualStack
from node_cli.models.dynamics import HeavyBall, Position, SecondOrder, with_velocity
from node_cli.models.fields import field
from node_cli.models.shape import Shape
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.sensitivity.methods import SENSITIVITIES

START = 0.0
"""The time at which f is seen where nothing is integrated, and where a trajectory begins."""


def core(config: Config, state: Shape) -> tuple[nn.Module, Shape]:
    """What stands between a stem and a head, and the shape of its result.

    ``state``: what the stem gives. Raises ``UserError`` where the field does not fit.
    """
    model = config.model
    if not isinstance(model, CoreModel):
        return nn.Identity(), state
    parts: list[nn.Module] = []
    if model.dropout_before:
        parts.append(nn.Dropout(model.dropout_before))
    if model.augment:
        assert model.augment_by is not None
        added, state = augment(state, model.augment, model.augment_by)
        parts.append(added)
    parts += _middle(config, state)
    if model.dropout_after:
        parts.append(nn.Dropout(model.dropout_after))
    return parts[0] if len(parts) == 1 else Chain(*parts), state


def _middle(config: Config, state: Shape) -> list[nn.Module]:
    match config.model:
        case ResidualModel() as model:
            return [ResidualStack([field(model, state) for _ in range(model.blocks)], START)]
        case PlainModel() as model:
            return [PlainField(field(model, state), START)]
        case OdeModel() as model:
            return _odes(config, model, state)
        case _:
            raise AssertionError


def _odes(config: Config, model: OdeModel, state: Shape) -> list[nn.Module]:
    """An ODE block for each set of weights. Each is a solve of its own: a step never reaches over
    the time at which the weights change."""
    assert model.t0 is not None and model.t1 is not None
    sets, length = model.weights_in_t, model.t1 - model.t0
    times = [model.t0, *(model.t0 + length * i / sets for i in range(1, sets)), model.t1]
    blocks = [ode_block(config, state, a, b) for a, b in pairwise(times)]
    if not isinstance(model, SecondOrderModel):
        return [*blocks]
    return [with_velocity(state, model.velocity), *blocks, Position()]


def ode_block(config: Config, state: Shape, t0: float, t1: float) -> ODEBlock:
    """Over [t0, t1]. Raises ``UserError`` where the field does not fit."""
    model = config.model
    assert isinstance(model, OdeModel), "no ODE"
    f = field(model, state)
    match model:
        case HeavyBallModel():
            f = HeavyBall(f, None if model.damping == "learned" else model.damping)
        case SecondOrderModel():
            f = SecondOrder(f)
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
