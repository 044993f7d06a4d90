"""A model in words: its parts, the shape after each, and the number of its parameters."""

from collections.abc import Iterator

from torch import nn

from node_cli.models.augment import Zeros
from node_cli.models.blocks import Chain, ODEBlock, PlainField, ResidualStack
from node_cli.models.classifier import Classifier
from node_cli.models.dynamics import FromLayer, Position
from node_cli.models.model import Model
from node_cli.models.shape import Shape, output_shape


def parameter_count(module: nn.Module) -> int:
    """Trained scalars; a shared parameter counts once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def describe(model: Model, sample: Shape) -> Iterator[tuple[str, str, Shape]]:
    """Name, description and output shape of each part in turn; of a core, its parts one by one.

    ``sample``: the shape of an image, or of the state of a flow.
    """
    if not isinstance(model, Classifier):
        yield "core", _core(model.core), sample
        return
    state = output_shape(model.stem, sample)
    yield "stem", _layers(model.stem), state
    parts = list(shapes_in_core(model.core, state))
    for number, (part, _, state) in enumerate(parts, start=1):
        yield f"core {number}" if len(parts) > 1 else "core", _core(part), state
    yield "head", _layers(model.head), output_shape(model.head, state)


def shapes_in_core(core: nn.Module, state: Shape) -> Iterator[tuple[nn.Module, Shape, Shape]]:
    """Each part of a core, the shape of what it is given and that of what it gives; no ODE is
    solved for that."""
    for part in core if isinstance(core, Chain) else (core,):
        given = state
        state = state if isinstance(part, ODEBlock) else output_shape(part, state)
        yield part, given, state


def _core(core: nn.Module) -> str:
    match core:
        case ODEBlock():
            equation = getattr(core.field, "equation", "dy/dt = f(t, y)")
            return f"{equation} over [{core.t0:g}, {core.t1:g}], f: {_layers(core.field)}"
        case Zeros():
            return f"{core.count} zeros appended" if core.count > 1 else "a zero appended"
        case FromLayer():
            return f"velocity: {_layers(core.layer)}"
        case Position():
            return "the position alone"
        case ResidualStack():
            return f"{len(core.fields)} x (y + f(y)), f: {_layers(core.fields[0])}"
        case PlainField():
            return f"f once: {_layers(core.field)}"
        case nn.Identity():
            return "none"
        case _:
            return _layers(core)


def _layers(module: nn.Module) -> str:
    return ", ".join(_layer(m) for m in module.modules() if _is_layer(m))


def _is_layer(module: nn.Module) -> bool:
    """Whether it has no parts; an empty sequence, of a shortcut say, is no layer."""
    return not list(module.children()) and not isinstance(module, nn.Sequential)


def _layer(layer: nn.Module) -> str:
    match layer:
        case nn.Linear():
            return f"Linear {layer.in_features}->{layer.out_features}"
        case nn.Conv2d():
            kernel = "x".join(map(str, layer.kernel_size))
            stride = f"/{layer.stride[0]}" if layer.stride[0] > 1 else ""
            return f"Conv {kernel}{stride} {layer.in_channels}->{layer.out_channels}"
        case nn.GroupNorm():
            return f"GroupNorm({layer.num_groups})"
        case nn.Dropout():
            return f"Dropout {layer.p:g}"
        case _:
            return type(layer).__name__
