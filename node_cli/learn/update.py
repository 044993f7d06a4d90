"""One training step: gradient, check, clipping, optimizer."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, ParamSpec

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_

from node_cli.config.schema import Config
from node_cli.learn.evaluation import Diverged
from node_cli.learn.optimizers import optimizer
from node_cli.machine.garbage import settle
from node_cli.models.model import Model
from node_cli.ode.work import Work
from node_cli.records.measures import STEP_NAMES, block_cells, work_cells
from node_cli.records.units import Value

Given = ParamSpec("Given")


@dataclass(frozen=True)
class Outcome:
    """What a training step has measured.

    ``loss``: the mean over the batch, before the update. ``grad_norm``: of the whole gradient,
    before clipping. ``correct``: images classified correctly before the update, None where nothing
    is classified. ``work``: cost of the ODE solves, None without an ODE. ``more``: further numbers,
    by their names in ``records.measures.STEPS``. ``penalties``: those of regularisers.
    """

    loss: float
    grad_norm: float
    correct: int | None
    work: Work | None
    more: Mapping[str, Value] = field(default_factory=dict)
    penalties: Mapping[str, Value] = field(default_factory=dict)

    def measured(self, images: int) -> dict[str, Value]:
        """Return every number by its name. ``images``: those of the batch."""
        assert self.more.keys() <= STEP_NAMES, "each has a row in records.measures.STEPS"
        return {
            "loss": self.loss,
            "grad_norm": self.grad_norm,
            "correct": self.correct,
            "accuracy": None if self.correct is None else self.correct / images,
            **work_cells(self.work),
            **block_cells(self.work),
            **self.more,
            **self.penalties,
        }


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of the whole gradient, 0-dim, to the last bit that of ``get_total_norm``, which
    first sorts by device and dtype: parameters here have one."""
    norms = torch._foreach_norm([p.grad for p in parameters if p.grad is not None])
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return norm


class Update(Generic[Given]):
    """Makes one training step for each call.

    The host waits for the device once, when ``gradient`` reads its numbers back.
    """

    def __init__(self, config: Config, model: Model, gradient: Callable[Given, Outcome]) -> None:
        """``gradient`` adds the gradient of a batch to the parameters' ``grad``, which is empty."""
        self.gradient = gradient
        self.grad_clip = config.optimizer.grad_clip
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = optimizer(config.optimizer, self.parameters)
        self.is_compiling = model.is_compiled

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Outcome:
        """Take the arguments of ``gradient``, and update the weights.

        Raises ``SolveFailed``, and ``Diverged`` where the loss or the gradient is not finite; the
        weights then are as before.
        """
        for parameter in self.parameters:  # ``zero_grad`` takes 2 % of a small compiled step
            parameter.grad = None
        outcome = self.gradient(*args, **kwargs)
        self._check_finite(outcome)
        if self.grad_clip is not None:
            grad_norm = torch.full((), outcome.grad_norm, device=self.parameters[0].device)
            clip_grads_with_norm_(self.parameters, self.grad_clip, grad_norm)
        self.optimizer.step()

        if self.is_compiling:  # done after the first step
            settle()
            self.is_compiling = False
        return outcome

    @staticmethod
    def _check_finite(outcome: Outcome) -> None:
        if not math.isfinite(outcome.loss) or not math.isfinite(outcome.grad_norm):
            raise Diverged(
                f"loss {outcome.loss:g}, gradient norm {outcome.grad_norm:g}; "
                "lower optimizer.lr, or set optimizer.grad_clip"
            )
