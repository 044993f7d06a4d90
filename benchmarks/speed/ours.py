"""Our contender: the training step of ``node-train``, built from command-line overrides."""

from collections.abc import Sequence

import torch

from node_cli.cli.compose import Composer
from node_cli.learn.classification import BatchGradient
from node_cli.learn.update import Outcome, Update
from node_cli.machine import compiler, device
from node_cli.models.classifier import build as build_classifier
from speed.contenders import Task
from speed.task import BATCH, BATCHES, CLASSES, IMAGE, LEARNING_RATE, Evaluations, arrays


class Ours:
    """What ``node-train`` does with a batch: the update, its counting, the gradient norm, and the
    numbers of the records read back in every step; only the files are left out."""

    def __init__(self, task: Task, overrides: Sequence[str]) -> None:
        """Raises ``UserError`` where this version refuses the overrides."""
        common = [f"model={task.model}", "solver=dopri5", f"solver.tol={task.tol}"]
        common += [f"optimizer.lr={LEARNING_RATE}", f"seed={task.seed}", f"device={task.device}"]
        with Composer() as composer:
            typed = composer.parse([*common, f"batch_size={BATCH}", *overrides])
            command = composer.command(typed, multirun=False)
        config = command.jobs[0].config
        backend = device.choose(config)
        device.activate(backend, deterministic=config.deterministic)
        torch.manual_seed(task.seed)
        model = build_classifier(config, IMAGE, CLASSES).to(backend.device, backend.dtype)
        if config.compile:
            compiler.compile_model(model, backend)
        model.train()
        self.update = Update(config, model, BatchGradient(config, model, backend))
        images, labels = arrays(task)
        self.images = torch.from_numpy(images).to(backend.device)
        self.labels = torch.from_numpy(labels).to(backend.device)
        self.history: list[float] = []

    def step(self, index: int) -> None:
        self.history.append(self._update(index).loss)

    def wait(self) -> None:
        """Nothing: a step has read its numbers back."""

    def losses(self) -> list[float]:
        return self.history

    def count(self, index: int) -> Evaluations:
        weights = [p.detach().clone() for p in self.update.parameters]
        work = self._update(index).work
        with torch.no_grad():
            for p, before in zip(self.update.parameters, weights, strict=True):
                p.copy_(before)
        assert work is not None
        return Evaluations(work.nfe_forward, work.nfe_backward, work.vjps_backward)

    def _update(self, index: int) -> Outcome:
        index %= BATCHES
        return self.update(self.images[index], self.labels[index])


def build(task: Task, overrides: Sequence[str]) -> Ours:
    return Ours(task, overrides)
