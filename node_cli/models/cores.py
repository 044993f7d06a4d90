"""The core that the configuration names, and the sensitivity method of an ODE block."""

from itertools import pairwise

from torch import nn

from node_cli.config.model import (
    CoreModel,
    HeavyBallModel,
    ModelConfig,
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
from node_cli.models.stages import entry
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.sensitivity.methods import SENSITIVITIES

START = 0.0
"""The time at which f is seen where nothing is integrated, and where a trajectory begins."""


def core(config: Config, state: Shape) -> tuple[nn.Module, Shape]:
    """What stands between a stem and a head, and the shape of its result.

    ``state``: what the stem gives. Raises ``UserError`` where the field does not fit.
    """
    model = config.model
    parts, state = _augmented(model, state)
    if model.stages is None:
        parts += _block(config, state, model.field)
    for number, stage in enumerate(model.stages or ()):
        before, state = entry(number, stage, state)
        parts += before
        for _ in range(stage.blocks):
            parts += _block(config, state, stage.field or model.field)
    if isinstance(model, CoreModel) and model.dropout_after:
        parts.append(nn.Dropout(model.dropout_after))
    if not parts:
        return nn.Identity(), state
    return parts[0] if len(parts) == 1 else Chain(*parts), state


def _augmented(model: ModelConfig, state: Shape) -> tuple[list[nn.Module], Shape]:
    """What stands before everything else, and the shape of its result."""
    parts: list[nn.Module] = []
    if isinstance(model, CoreModel) and model.dropout_before:
        parts.append(nn.Dropout(model.dropout_before))
    if isinstance(model, CoreModel) and model.augment:
        assert model.augment_by is not None
        added, state = augment(state, model.augment, model.augment_by)
        parts.append(added)
    return parts, state


def _block(config: Config, state: Shape, name: str | None) -> list[nn.Module]:
    """One core, of the field of that name; without stages a stack of ``model.blocks``."""
    match config.model:
        case ResidualModel() as model:
            fields = [field(model, name, state) for _ in range(model.blocks or 1)]
            return [ResidualStack(fields, START)]
        case PlainModel() as model:
            return [PlainField(field(model, name, state), START)]
        case OdeModel() as model:
            return _odes(config, model, name, state)
        case _:
            return []


def _odes(config: Config, model: OdeModel, name: str | None, state: Shape) -> list[nn.Module]:
    """An ODE block for each set of weights. Each is a solve of its own: a step never reaches over
    the time at which the weights change."""
    assert model.t0 is not None and model.t1 is not None
    sets, length = model.weights_in_t, model.t1 - model.t0
    times = [model.t0, *(model.t0 + length * i / sets for i in range(1, sets)), model.t1]
    blocks = [ode_block(config, name, state, a, b) for a, b in pairwise(times)]
    if not isinstance(model, SecondOrderModel):
        return [*blocks]
    return [with_velocity(state, model.velocity), *blocks, Position()]


def ode_block(config: Config, name: str | None, state: Shape, t0: float, t1: float) -> ODEBlock:
    """Of the field of that name, over [t0, t1]. Raises ``UserError`` where it does not fit."""
    model = config.model
    assert isinstance(model, OdeModel), "no ODE"
    f = field(model, name, state)
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
