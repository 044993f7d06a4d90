"""A model in words: its parts, the shape after each, and the number of its parameters."""

from collections.abc import Iterator

from torch import nn

from node_cli.models.blocks import ODEBlock, PlainField, ResidualStack
from node_cli.models.classifier import Classifier
from node_cli.models.model import Model
from node_cli.models.shape import Shape, output_shape


def parameter_count(module: nn.Module) -> int:
    """Trained scalars; a shared parameter counts once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def describe(model: Model, sample: Shape) -> Iterator[tuple[str, str, Shape]]:
    """Name, description and output shape of each part in turn. ``sample``: the shape of an image,
    or of the state of a flow."""
    if not isinstance(model, Classifier):
        yield "core", _core(model.core), sample
        return
    state = output_shape(model.stem, sample)
    yield "stem", _layers(model.stem), state
    yield "core", _core(model.core), state
    yield "head", _layers(model.head), output_shape(model.head, state)


def _core(core: nn.Module) -> str:
    match core:
        case ODEBlock():
            return f"dy/dt = f(t, y) over [{core.t0:g}, {core.t1:g}], f: {_layers(core.field)}"
        case ResidualStack():
            return f"{len(core.fields)} x (y + f(y)), f: {_layers(core.fields[0])}"
        case PlainField():
            return f"f once: {_layers(core.field)}"
        case _:
            return "none"


def _layers(module: nn.Module) -> str:
    return ", ".join(_layer(m) for m in module.modules() if not list(m.children()))


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
        case _:
            return type(layer).__name__
