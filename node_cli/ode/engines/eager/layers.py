"""Vector-Jacobian products of an f that is linear layers and activations, without autograd."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.modules.module import _has_any_global_hook

from node_cli.ode.autonomous import Autonomous
from node_cli.ode.engines.eager.linearised import Linearised
from node_cli.ode.engines.eager.step import Stage
from node_cli.ode.field import Field
from node_cli.ode.problem import Problem
from node_cli.ode.work import CountedField

_aten = torch.ops.aten

# The product of a cotangent v with the derivative of an activation, by the operation that autograd
# has for it: from its result, or from its input.
OF_RESULT: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Tensor]] = {
    nn.Tanh: lambda _, v, y: _aten.tanh_backward.default(v, y),
    nn.ReLU: lambda _, v, y: _aten.threshold_backward.default(v, y, 0),
}
OF_INPUT: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Tensor]] = {
    nn.Softplus: lambda layer, v, x: _aten.softplus_backward.default(
        v, x, layer.beta, layer.threshold
    ),
    nn.ELU: lambda layer, v, x: _aten.elu_backward.default(v, layer.alpha, 1, 1, False, x),
    nn.GELU: lambda layer, v, x: _aten.gelu_backward.default(v, x, approximate=layer.approximate),
    nn.SiLU: lambda _, v, x: _aten.silu_backward.default(v, x),
}
ACTIVATIONS = OF_RESULT | OF_INPUT


def linearised(
    problem: Problem,
    *,
    backward: bool = False,
    with_parameters: bool = True,
    with_time: bool = False,
) -> Linearised:
    """f of a problem, evaluated as ``backward`` or forward, and its products: by layers where these
    are known, else by autograd.

    ``with_parameters``, ``with_time``: whether the products by the parameters, and by t, are
    wanted.
    """
    parameters = problem.parameters if with_parameters else []
    constants = [] if with_parameters else problem.parameters
    layers = None if with_time else layers_of(problem)
    if layers is None:
        counted = problem.counted(backward=backward)
        return Linearised(counted, parameters, constants=constants, with_time=with_time)
    counted = problem.counted(one_by_one(layers), backward=backward)
    return LinearisedLayers(layers, counted, parameters)


def evaluated(problem: Problem) -> CountedField:
    """f of a problem, evaluated forward, of which no products are wanted."""
    layers = layers_of(problem)
    return problem.counted(None if layers is None else one_by_one(layers))


def one_by_one(layers: Sequence[nn.Module]) -> Field:
    """f by its layers, none of which is called as a module: which takes a third of the time of a
    small f."""
    known = _with_weights(layers)

    def f(t: Tensor, y: Tensor) -> Tensor:
        for layer in known:
            y = layer.forward(y)
        return y

    return f


def layers_of(problem: Problem) -> list[nn.Module] | None:
    """The layers of which f is made, from the first to the last, where they are all there is to f.

    None unless f is an ``Autonomous`` field of linear layers, whose weights are all trained, and
    activations, for vectors (y is [N, D]), without autocast, and where nobody could notice that
    modules are not called: without hooks, and not compiled. Cost: a look at each module.
    """
    field, y = problem.field, problem.y0
    if type(field).forward is not Autonomous.forward or y.dim() != 2 or problem.autocast.enabled:
        return None
    net: nn.Module = field.net  # type: ignore[assignment]
    layers = [*net] if type(net) is nn.Sequential else [net]
    if _has_any_global_hook() or not all(map(_is_as_written, (field, net, *layers))):
        return None
    trained = {id(x) for x in problem.parameters}
    width = y.shape[1]
    for layer in layers:
        if type(layer) is nn.Linear:
            weights = [x for x in (layer.weight, layer.bias) if x is not None]
            if layer.in_features != width or any(
                id(x) not in trained or x.dtype != y.dtype or x.device != y.device for x in weights
            ):
                return None
            width = layer.out_features
        elif type(layer) not in ACTIVATIONS or getattr(layer, "inplace", False):
            return None
    return layers if layers and width == y.shape[1] else None


def _is_as_written(module: nn.Module) -> bool:
    """Whether calling the module is calling its class's ``forward``, and nothing else."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    return not any(hooks) and module._compiled_call_impl is None and "forward" not in vars(module)


class _Linear(NamedTuple):
    """A linear layer: its weights now, and their places among the parameters."""

    weight: Tensor
    bias: Tensor | None
    of_weight: int | None
    of_bias: int | None

    def forward(self, y: Tensor) -> Tensor:
        return linear(y, self.weight, self.bias)


def _with_weights(
    layers: Sequence[nn.Module], parameters: Sequence[Tensor] = ()
) -> list[_Linear | nn.Module]:
    places = {id(x): place for place, x in enumerate(parameters)}
    return [
        _Linear(x.weight, x.bias, places.get(id(x.weight)), places.get(id(x.bias)))
        if isinstance(x, nn.Linear)
        else x
        for x in layers
    ]


class LinearisedLayers(Linearised):
    """``Linearised`` for the layers of f, to the same bits.

    For a graph of its own for each evaluation takes autograd longer than what is computed, where f
    is small. Memory: as with a graph, of each layer its input, or its result, as it needs. Cost: of
    a small f, half the time of a product by autograd, and two thirds of an evaluation.
    """

    def __init__(
        self, layers: Sequence[nn.Module], f: CountedField, parameters: Sequence[Tensor]
    ) -> None:
        super().__init__(f, parameters)
        self.layers = _with_weights(layers, self.parameters)
        self.values, self.pull = self._values, self._pull
        if meter := f.work.meter:
            self.values = meter.around("f", self.values, backward=f.backward)
            self.pull = meter.around("VJPs", self.pull, backward=True)

    def evaluate(self, t: Tensor, y: Tensor) -> Stage:
        self.f.work.evaluated(1, backward=self.f.backward)
        k, values = self.values(y)
        return Stage(t, y, k, values)

    def _values(self, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The result of the last layer, and of each what its product needs."""
        values = []
        for layer in self.layers:
            x, y = y, layer.forward(y)
            values.append(y if type(layer) in OF_RESULT else x)
        return y, values

    def _products(self, stage: Stage, v: Tensor, inputs: tuple[Tensor, ...]) -> Sequence[Tensor]:
        self.f.work.vjps_backward += 1
        of_y = bool(inputs) and inputs[0] is stage.y
        assert stage.values
        by_y, by_parameters = self.pull(stage.values, v, of_y)
        stage.values.clear()  # as a graph is freed by its product
        return [by_y, *by_parameters] if of_y else by_parameters

    def _pull(self, values: Sequence[Tensor], v: Tensor, of_y: bool) -> tuple[Tensor, list[Tensor]]:
        """The products by y (only ``of_y``) and by each parameter, from the last layer to the
        first."""
        found: list[Any] = [None] * len(self.parameters)

        def add(place: int, product: Tensor) -> None:  # layers may share a weight
            found[place] = product if found[place] is None else found[place] + product

        for number in reversed(range(len(self.layers))):
            layer, x = self.layers[number], values[number]
            if not isinstance(layer, _Linear):
                v = ACTIVATIONS[type(layer)](layer, v, x)
                continue
            if layer.of_weight is not None:
                add(layer.of_weight, v.t().mm(x))
            if layer.of_bias is not None:
                add(layer.of_bias, v.sum(0))
            if number or of_y:
                v = v.mm(layer.weight)
        return v, found
