"""One update of a model: forward, loss, backward, clipping, optimizer."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from node_cli.config.schema import Config
from node_cli.models.classifier import Classifier
from node_cli.ode.work import Work
from node_cli.run import compiler
from node_cli.run.device import Backend
from node_cli.run.evaluation import Diverged
from node_cli.run.optimizers import optimizer
from node_cli.run.whole_step import WholeStep


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
        self.loss: nn.Module = Loss(model.head, backend.dtype)
        self.whole = WholeStep(model, self.loss, backend) if WholeStep.suits(model) else None
        self.settled = not model.is_compiled
        if model.is_compiled:
            self.loss.compile(fullgraph=True, dynamic=False)

    def __call__(self, images: Tensor, labels: Tensor) -> Outcome:
        """``images``: [N, C, H, W], preprocessed. ``labels``: [N].

        Raises ``SolveFailed``, and ``Diverged`` where the loss or the gradient is not finite; the
        weights then are as before.
        """
        self.optimizer.zero_grad()
        found = (
            self.whole(images, labels) if self.whole and len(images) == self.batch_size else None
        )
        outcome = Outcome(*(found or self._by_parts(images, labels)))
        if not math.isfinite(outcome.loss) or not math.isfinite(outcome.grad_norm):
            raise Diverged(
                f"loss {outcome.loss:g}, gradient norm {outcome.grad_norm:g}; "
                "lower optimizer.lr, or set optimizer.grad_clip"
            )
        if self.grad_clip is not None:
            grad_norm = torch.tensor(outcome.grad_norm, device=images.device)
            clip_grads_with_norm_(self.parameters, self.grad_clip, grad_norm)
        self.optimizer.step()
        if not self.settled:
            compiler.settle()
            self.settled = True
        return outcome

    def _by_parts(self, images: Tensor, labels: Tensor) -> tuple[float, float, int, Work | None]:
        with compiler.for_batch(self.model, len(images), self.batch_size):
            with self.backend.autocast():
                loss, correct = self.loss(self.model.features(images), labels)
            loss.backward()
        grad_norm = get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        values = torch.stack([loss.detach(), grad_norm, correct.to(loss.dtype)]).tolist()
        return values[0], values[1], int(values[2]), self.model.take_work()


class Loss(nn.Module):
    """Head and loss: from features and labels to the mean cross-entropy, and how many are right."""

    def __init__(self, head: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.head = head
        self.dtype = dtype

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.head(features).to(self.dtype)
        return cross_entropy(logits, labels), (logits.argmax(1) == labels).sum()
