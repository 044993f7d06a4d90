"""The parts of a training step: where one ends and the next begins, read off a running step."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import Variable

from node_cli.models.blocks import Chain, ODEBlock
from node_cli.models.classifier import Classifier
from node_cli.models.model import Model

# In the order in which a step comes to them.
PARTS = {
    "data": "the batch, on the device, preprocessed",
    "stem": "the stem",
    "core": "what the core has beside ODEs: residual blocks, layers between stages, dropout",
    "f": "evaluations of f; backward: those that the gradient method makes again",
    "VJPs": "vector-Jacobian products of f",
    "solver": "the solves without f: steps, error estimates, step sizes, their adjoint, penalties",
    "head": "head and loss",
    "optimizer": "norm and clipping of the gradient, reading the numbers, the update",
    "records": "the row of steps.csv",
}

Reading = TypeVar("Reading")
Given = ParamSpec("Given")
Result = TypeVar("Result")


class Place(NamedTuple):
    """Where a step is: in a part, of its forward or its backward pass."""

    part: str
    backward: bool


NOWHERE = Place("", False)


class Parts(Generic[Reading]):
    """Reads a counter wherever a step goes from one part to another; a ``Meter`` of ODE blocks.

    ``read``: the counter: a clock, say.
    """

    def __init__(self, read: Callable[[], Reading]) -> None:
        self.read = read
        self.marks: list[tuple[Place, Reading]] = []
        self.place = NOWHERE
        self.is_backward = False

    def enter(self, part: str, *, backward: bool = False) -> None:
        """A part begins, and the one before has ended."""
        self._enter(Place(part, backward))

    def leave(self) -> None:
        """The step is over."""
        self._enter(NOWHERE)

    def backward(self, part: str) -> None:
        """The gradient has arrived at a part's result. After the last part comes the optimizer."""
        if not self.is_backward:
            self.is_backward = True
            Variable._execution_engine.queue_callback(self._end_of_backward)
        self.enter(part, backward=True)

    def _end_of_backward(self) -> None:
        self.is_backward = False
        self.enter("optimizer")

    def _enter(self, place: Place) -> None:
        self.marks.append((place, self.read()))
        self.place = place

    def around(
        self, part: str, compute: Callable[Given, Result], *, backward: bool
    ) -> Callable[Given, Result]:
        """See ``Meter``."""
        place = Place(part, backward)

        def measured(*args: Given.args, **kwargs: Given.kwargs) -> Result:
            before = self.place
            self._enter(place)
            try:
                return compute(*args, **kwargs)
            finally:
                self._enter(before)

        return measured

    def spans(self) -> Iterator[tuple[Place, Reading, Reading]]:
        """Each stretch of a step within one part: the readings where it begins and where it
        ends."""
        for (place, start), (_, end) in pairwise(self.marks):
            if place is not NOWHERE:
                yield place, start, end

    def calls(self, part: str) -> int:
        """How often a part was entered."""
        return sum(place.part == part for place, _ in self.marks)


@contextmanager
def watched(
    model: Model, optimizer: torch.optim.Optimizer, parts: Parts[Any]
) -> Iterator[dict[ODEBlock, Tensor]]:
    """Within it, ``parts`` is told of every part that a training step of the model comes to, but
    for where it begins and ends. Yields the last state that each ODE block was given.

    By hooks of the modules and of their results, so of a model that is not compiled.
    """
    inputs: dict[ODEBlock, Tensor] = {}
    with ExitStack() as stack:

        def watch(module: nn.Module, part: str, block: ODEBlock | None = None) -> None:
            def before(_: nn.Module, given: tuple[Any, ...]) -> None:
                parts.enter(part)
                if block is not None:
                    inputs[block] = given[0].detach()

            def after(_: nn.Module, given: tuple[Any, ...], result: Tensor) -> None:
                if result.requires_grad:
                    result.register_hook(lambda _: parts.backward(part))
                parts.enter("head")  # or whatever says that it begins

            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(module.register_forward_hook(after).remove)

        if isinstance(model, Classifier):
            watch(model.stem, "stem")
            for part in model.core if isinstance(model.core, Chain) else (model.core,):
                if isinstance(part, ODEBlock):
                    watch(part, "solver", part)
                elif not isinstance(part, nn.Identity):  # its result is the stem's own
                    watch(part, "core")
            watch(model.head, "head")
        else:
            (block,) = model.ode_blocks
            watch(model, "solver", block)
        for block in model.ode_blocks:
            stack.enter_context(block.measured_by(parts))
        hook = optimizer.register_step_post_hook(lambda *_: parts.enter("records"))
        stack.callback(hook.remove)
        yield inputs
