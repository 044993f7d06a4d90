"""The floor: what a training step costs when the solver costs nothing.

Stem, as many evaluations of f and as many VJPs as our discrete gradient has, head, loss, backward
and optimizer. What a solver adds beyond one multiply-add of the state per evaluation is left out.
"""

import torch
from torch import Tensor

from node_cli.config.optimizer import Adam
from node_cli.learn.optimizers import optimizer
from speed.contenders import Task
from speed.task import LEARNING_RATE, Evaluations, TorchStep, modules


class Floor(TorchStep):
    """``compiled``: stem, evaluations and head as one graph with one backward graph."""

    def __init__(self, task: Task, compiled: bool) -> None:
        self.stem, self.f, self.head = parts = modules(task)
        self.evaluations, self.vjps = task.evaluations, task.vjps
        if not 0 < self.vjps <= self.evaluations:
            raise ValueError(f"{self.evaluations} evaluations, {self.vjps} VJPs")
        adam = Adam(name="adam", lr=LEARNING_RATE, weight_decay=0.0)
        super().__init__(
            task,
            torch.compile(self._logits, fullgraph=True, dynamic=False)
            if compiled
            else self._logits,
            parts.parameters(),
            optimizer=optimizer(adam, parts.parameters()),
        )

    def _logits(self, images: Tensor) -> Tensor:
        y = self.stem(images)
        t = torch.zeros((), device=y.device)
        if self.evaluations > self.vjps:  # those that the solver does not differentiate
            z = y.detach()
            with torch.no_grad():
                for _ in range(self.evaluations - self.vjps):
                    z = z + self.f(t, z) / self.evaluations
            y = y + (z - y).detach()  # uses them, so that no compiler drops them
        for _ in range(self.vjps):
            y = y + self.f(t, y) / self.evaluations
        logits: Tensor = self.head(y)
        return logits

    def count(self, index: int) -> Evaluations:
        return Evaluations(self.evaluations, 0, self.vjps)


def build(task: Task, compiled: bool) -> Floor:
    return Floor(task, compiled)
