"""A module and its vector-Jacobian product as two graphs."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from node_cli.ode.failures import Unsuitable
from node_cli.ode.field import Autocast

HIDDEN = (
    "{} uses a tensor that is neither a parameter nor a buffer: not with compile=true; name it "
    "with register_buffer, or make it in forward"
)


class Captured:
    """A module without buffers, and its products with a vector, as plain operations.

    Unlike a module under autograd, these can stand within a function that is compiled.
    ``inputs``: examples; products are by those that require grad. The graphs hold for their
    shapes and dtypes, for the present training mode, and under ``autocast``. ``parameters`` are
    inputs too, frozen ones included; products are by the ``trained`` ones.
    Raises ``Unsuitable`` where it uses a tensor that is neither parameter nor buffer: it may have
    another value later. Cost of the capture: one evaluation and one product. Source of the graphs:
    AOTAutograd, which traces a function together with its backward pass.
    """

    def __init__(self, module: nn.Module, autocast: Autocast, *inputs: Tensor) -> None:
        self.parameters = list(module.parameters())
        self.trained = [i for i, p in enumerate(self.parameters) if p.requires_grad]
        self.inputs = len(inputs)
        self.forward, self.backward = _graphs(module, self.parameters, autocast, inputs)

    @property
    def text(self) -> str:
        """All that the graphs compute: equal texts mean equal functions."""
        return "\n".join([_text(self.forward), _text(self.backward), str(self.trained)])

    def evaluate(
        self, inputs: Sequence[Tensor], parameters: Sequence[Tensor], outputs: int = 1
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The ``outputs`` of the module, and what their product needs."""
        found = self.forward(*inputs, *parameters)
        return list(found[:outputs]), list(found[outputs:])

    def products(self, saved: Sequence[Tensor], v: Tensor) -> tuple[list[Any], list[Tensor]]:
        """v^T of the Jacobian by each input (None without one), and by each trained parameter."""
        found = self.backward(*saved, v)
        by_parameters = found[self.inputs :]
        return list(found[: self.inputs]), [
            v.new_zeros(self.parameters[i].shape) if by_parameters[i] is None else by_parameters[i]
            for i in self.trained
        ]


class CapturedField(Captured):
    """f(t, y), in the body of a loop: what one loop has saved, another can read from a buffer.

    ``saved``: the shapes of what an evaluation keeps beside the ``constants``.
    """

    def __init__(self, field: nn.Module, autocast: Autocast, t: Tensor, y: Tensor) -> None:
        super().__init__(field, autocast, t, y.detach().clone().requires_grad_())
        (output,) = _nodes(self.forward, "output")
        outputs: Any = output.args[0]
        sources = [_source(node) for node in outputs[1:]]
        kept = list(dict.fromkeys(sources))
        varying = _depending(self.forward, 2)  # on t or y
        # Of what the forward graph gives: where each kept value comes from, and where it goes.
        self._first = [sources.index(node) for node in kept]
        self._place = [kept.index(node) for node in sources]
        self._varies = [node in varying for node in kept]
        self.saved: list[Tensor] = [node.meta["val"] for node in kept if node in varying]
        self._constants = _part(self.forward, [node for node in kept if node not in varying])

    def at(self, t: Tensor, y: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """f(t, y), and what its product needs beside the ``constants``."""
        (k,), outputs = self.evaluate((t, y), parameters)
        kept = (outputs[i] for i in self._first)
        return k, [value for value, varies in zip(kept, self._varies, strict=True) if varies]

    def constants(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """What every product needs: functions of the parameters alone."""
        return list(self._constants(*parameters))

    def pull(
        self, constants: Sequence[Tensor], saved: Sequence[Tensor], v: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """v^T df/dy and v^T df/dtheta of the trained parameters, where ``saved`` was kept."""
        sources: dict[bool, Iterator[Tensor]] = {True: iter(saved), False: iter(constants)}
        kept = [next(sources[varies]) for varies in self._varies]
        (_, by_y), found = self.products([kept[i] for i in self._place], v)
        return torch.zeros_like(v) if by_y is None else by_y, found


def _graphs(
    module: nn.Module,
    parameters: list[nn.Parameter],
    autocast: Autocast,
    inputs: Sequence[Tensor],
) -> tuple[fx.GraphModule, fx.GraphModule]:
    """(*inputs, *parameters) -> (*outputs, *saved), and (*saved, v) -> products with all of those
    inputs. The first output is the one that is differentiated, in the dtype of the first input."""
    # Here, since importing it takes longer than importing torch.
    from functorch.compile import (  # type: ignore[import-untyped]
        aot_function,
        default_partition,
        make_boxed_func,
    )

    places = {id(p): len(inputs) + i for i, p in enumerate(parameters)}
    names = [(n, places[id(p)]) for n, p in module.named_parameters(remove_duplicate=False)]

    def f(*arguments: Tensor) -> Any:
        named = {name: arguments[i] for name, i in names}
        with autocast.again():
            found = functional_call(module, named, arguments[: len(inputs)], tie_weights=False)
        if isinstance(found, Tensor):
            return found.to(inputs[0].dtype)
        return found[0].to(inputs[0].dtype), *found[1:]

    graphs: list[fx.GraphModule] = []

    def keep(graph: fx.GraphModule, _: object) -> Any:
        graphs.append(graph)
        return make_boxed_func(graph.forward)

    traced = aot_function(f, keep, keep, partition_fn=default_partition)
    copies = [p.detach().clone().requires_grad_(p.requires_grad) for p in parameters]
    # Parts of the module that are compiled on their own are traced through as well.
    through = torch._dynamo.config.patch(error_on_nested_fx_trace=False)
    with through, torch.enable_grad(), torch.autocast(inputs[0].device.type, enabled=False):
        try:
            outputs = traced(*inputs, *copies)
        except AssertionError as error:
            if "non_fake" not in str(error):
                raise
            raise Unsuitable(HIDDEN.format(type(module).__name__)) from error
        first = outputs if isinstance(outputs, Tensor) else outputs[0]
        first.backward(torch.zeros_like(first))
    forward, backward = graphs
    return forward, backward


def _nodes(graph: fx.GraphModule, op: str) -> list[fx.Node]:
    return [node for node in graph.graph.nodes if node.op == op]


def _text(graph: fx.GraphModule) -> str:
    """The code of a graph, and a digest of each tensor that is a part of it."""
    lines = [graph.code]
    for node in _nodes(graph, "get_attr"):
        value = getattr(graph, str(node.target))
        assert isinstance(value, Tensor)
        content = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        digest = hashlib.sha256(content).hexdigest()
        lines.append(f"{node.target} {value.dtype} {[*value.shape]} {digest}")
    return "\n".join(lines)


def _source(node: fx.Node) -> fx.Node:
    """The node whose value this one has, past any ``detach``."""
    while node.target is torch.ops.aten.detach.default:
        (node,) = node.all_input_nodes
    return node


def _depending(graph: fx.GraphModule, inputs: int) -> set[fx.Node]:
    """The nodes that depend on one of the first ``inputs``."""
    found = set(_nodes(graph, "placeholder")[:inputs])
    for node in graph.graph.nodes:
        if any(source in found for source in node.all_input_nodes):
            found.add(node)
    return found


def _part(graph: fx.GraphModule, nodes: list[fx.Node]) -> fx.GraphModule:
    """From the parameters alone to the values of ``nodes``."""
    part = fx.Graph()
    skipped = _depending(graph, 2)
    values: dict[fx.Node, fx.Node] = {}
    for node in graph.graph.nodes:
        if node not in skipped and node.op != "output":
            values[node] = part.node_copy(node, values.__getitem__)
    part.output(tuple(values[node] for node in nodes))
    part.eliminate_dead_code()
    return fx.GraphModule(graph, part)
