"""Statistics of BatchNorm for an evaluation, where f has BatchNorm inside.

In training such an f is normalised by the batch, at each time for itself. Its running statistics
are one average over all times and over the weights of many steps, and so belong to no time at all.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from node_cli.models.blocks import ODEBlock
from node_cli.models.model import Model

PARTS = 10
"""Equal parts of the interval of an ODE block that have statistics of their own."""

ROUNDING = 1e-3
"""Of a part: the times of fixed steps lie on its ends, but for their rounding."""

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")

Buffers = dict[str, Tensor]
Collecting = Callable[[], AbstractContextManager[None]]


def norms_inside(model: Model) -> list[_BatchNorm]:
    """Every BatchNorm with running statistics in the f of an ODE block."""
    return [norm for block in model.ode_blocks for norm in _tracked(block.field)]


@contextmanager
def statistics_per_time(model: Model) -> Iterator[Collecting]:
    """Within it, in evaluation mode, each BatchNorm of a model has statistics that were collected:
    those inside f for each of ``PARTS`` parts of the interval, the nearest part where one has none;
    the others one set. Where nothing was collected, those of training.

    Yields a context in which passes of the model collect them, each BatchNorm then normalising by
    the batch: plain means over these passes, as ``torch.optim.swa_utils.update_bn`` takes. In the
    end everything is as it was. Cost: parts of the model that are compiled run uncompiled.
    """
    inside = norms_inside(model)
    outside = [norm for norm in _tracked(model) if norm not in inside]
    training = model.training
    kept = [_buffers(norm) for norm in (*inside, *outside)]
    with ExitStack() as stack:
        stack.callback(_put, [*inside, *outside], kept)
        stack.callback(model.train, training)
        stack.enter_context(_uncompiled(model))
        fields = [_FieldStatistics(block) for block in model.ode_blocks]
        for field in fields:
            stack.callback(field.hook.remove)
        model.eval()

        @contextmanager
        def collecting() -> Iterator[None]:
            norms = [*inside, *outside]
            momenta = [norm.momentum for norm in norms]
            before = [_buffers(norm) for norm in outside]
            _put(outside, [_fresh(norm) for norm in outside])
            for norm in norms:
                norm.train()
                norm.momentum = None  # the plain mean
            for field in fields:
                field.is_collecting = True
            try:
                yield
            finally:
                for field in fields:
                    field.is_collecting = False
                for norm, momentum in zip(norms, momenta, strict=True):
                    norm.eval()
                    norm.momentum = momentum
                if not all(field.parts for field in fields):  # every solve failed
                    _put(outside, before)

        yield collecting


class _FieldStatistics:
    """The statistics inside the f of a block, by the part of the interval."""

    def __init__(self, block: ODEBlock) -> None:
        self.t0, self.t1 = block.t0, block.t1
        self.norms = _tracked(block.field)
        self.parts: dict[int, list[Buffers]] = {}
        self.is_collecting = False
        self.hook = block.field.register_forward_pre_hook(self._before)

    def _before(self, field: nn.Module, given: tuple[Tensor, Tensor]) -> None:
        """Before a call of f: put in the statistics of its time."""
        passed = (float(given[0]) - self.t0) / (self.t1 - self.t0)
        part = max(0, min(int(passed * PARTS + ROUNDING), PARTS - 1))
        if self.is_collecting:
            self.parts.setdefault(part, [_fresh(norm) for norm in self.norms])
        if self.parts:
            _put(self.norms, self.parts[min(self.parts, key=lambda other: abs(other - part))])


def _tracked(module: nn.Module) -> list[_BatchNorm]:
    norms = (part for part in module.modules() if isinstance(part, _BatchNorm))
    return [norm for norm in norms if norm.running_mean is not None]


def _uncompiled(model: Model) -> AbstractContextManager[object]:
    """Compiled parts do not call a hook that is newer than they are."""
    is_compiled = any(part._compiled_call_impl is not None for part in model.modules())
    return torch.compiler.set_stance("force_eager") if is_compiled else nullcontext()


def _fresh(norm: _BatchNorm) -> Buffers:
    """Statistics of nothing yet, as a new BatchNorm has."""
    empty = {name: torch.zeros_like(value) for name, value in _buffers(norm).items()}
    return empty | {"running_var": torch.ones_like(empty["running_var"])}


def _buffers(norm: _BatchNorm) -> Buffers:
    return {name: getattr(norm, name) for name in BUFFERS}


def _put(norms: Sequence[_BatchNorm], statistics: Sequence[Buffers]) -> None:
    for norm, buffers in zip(norms, statistics, strict=True):
        for name, value in buffers.items():
            setattr(norm, name, value)
