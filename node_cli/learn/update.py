"""One update of a model: gradient, clipping, optimizer."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, ParamSpec

import torch
from torch.nn.utils import clip_grads_with_norm_

from node_cli.config.schema import Config
from node_cli.learn.evaluation import Diverged
from node_cli.learn.optimizers import optimizer
from node_cli.machine import compiler
from node_cli.models.model import Model
from node_cli.ode.work import Work

Given = ParamSpec("Given")


@dataclass(frozen=True)
class Outcome:
    """``loss``: the mean over the batch. ``grad_norm``: of the whole gradient, before clipping.
    ``correct``: images classified right before the update, None where nothing is classified."""

    loss: float
    grad_norm: float
    correct: int | None
    work: Work | None


class Update(Generic[Given]):
    """Makes one training step per call. The device is waited for once, before the optimizer.

    ``gradient``: leaves the gradient in the parameters' ``grad``, which it finds empty.
    """

    def __init__(self, config: Config, model: Model, gradient: Callable[Given, Outcome]) -> None:
        self.gradient = gradient
        self.grad_clip = config.optimizer.grad_clip
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = optimizer(config.optimizer, self.parameters)
        self.settled = not model.is_compiled

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Outcome:
        """Takes what ``gradient`` takes.

        Raises ``SolveFailed``, and ``Diverged`` where the loss or the gradient is not finite; the
        weights then are as before.
        """
        self.optimizer.zero_grad()
        outcome = self.gradient(*args, **kwargs)
        if not math.isfinite(outcome.loss) or not math.isfinite(outcome.grad_norm):
            raise Diverged(
                f"loss {outcome.loss:g}, gradient norm {outcome.grad_norm:g}; "
                "lower optimizer.lr, or set optimizer.grad_clip"
            )
        if self.grad_clip is not None:
            grad_norm = torch.tensor(outcome.grad_norm, device=self.parameters[0].device)
            clip_grads_with_norm_(self.parameters, self.grad_clip, grad_norm)
        self.optimizer.step()
        if not self.settled:
            compiler.settle()
            self.settled = True
        return outcome
