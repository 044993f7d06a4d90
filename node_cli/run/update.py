"""One update of a model: forward, loss, backward, clipping, optimizer."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from node_cli.config.schema import Config
from node_cli.models.classifier import Classifier
from node_cli.ode.work import Work
from node_cli.run import compiler
from node_cli.run.device import Backend
from node_cli.run.evaluation import Diverged
from node_cli.run.optimizers import optimizer


@dataclass(frozen=True)
class Outcome:
    """``loss``: mean cross-entropy in nats before the update. ``grad_norm``: of the whole gradient,
    before clipping. ``correct``: images classified right before the update."""

    loss: float
    grad_norm: float
    correct: int
    work: Work | None


class Update:
    """Makes one training step per call. The device is waited for once, before the optimizer."""

    def __init__(self, config: Config, model: Classifier, backend: Backend) -> None:
        self.model = model
        self.backend = backend
        self.batch_size = config.batch_size
        self.grad_clip = config.optimizer.grad_clip
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = optimizer(config.optimizer, self.parameters)
        self.loss = self._loss
        if model.is_compiled:
            self.loss = torch.compile(self._loss, fullgraph=True, dynamic=False)

    def __call__(self, images: Tensor, labels: Tensor) -> Outcome:
        """``images``: [N, C, H, W], preprocessed. ``labels``: [N].

        Raises ``SolveFailed``, and ``Diverged`` where the loss or the gradient is not finite; the
        weights then are as before.
        """
        self.optimizer.zero_grad()
        with compiler.for_batch(len(images), self.batch_size):
            with self.backend.autocast():
                loss, correct = self.loss(self.model.features(images), labels)
            loss.backward()
        grads = [p.grad for p in self.parameters if p.grad is not None]
        grad_norm = get_total_norm(grads)
        work = self.model.take_work()
        values = torch.stack([loss.detach(), grad_norm, correct.to(loss.dtype)]).tolist()
        outcome = Outcome(values[0], values[1], int(values[2]), work)
        if not math.isfinite(outcome.loss) or not math.isfinite(outcome.grad_norm):
            raise Diverged(
                f"loss {outcome.loss:g}, gradient norm {outcome.grad_norm:g}; "
                "lower optimizer.lr, or set optimizer.grad_clip"
            )
        if self.grad_clip is not None:
            clip_grads_with_norm_(self.parameters, self.grad_clip, grad_norm)
        self.optimizer.step()
        return outcome

    def _loss(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy, and how many are right."""
        logits = self.model.head(features).to(self.backend.dtype)
        return cross_entropy(logits, labels), (logits.argmax(1) == labels).sum()
