"""Evaluation of a model on the splits of the data. Training goes on as if there had been none."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from node_cli.config.schema import Config
from node_cli.data.batches import Preprocess, in_batches
from node_cli.data.images import ImageSet
from node_cli.data.streams import stream
from node_cli.machine import compiler
from node_cli.machine.device import Backend
from node_cli.models.classifier import Classifier
from node_cli.records.measures import evaluated


class Diverged(RuntimeError):
    """The loss, or the norm of its gradient, is not finite."""


@dataclass(frozen=True)
class Metrics:
    """What the evaluation of one split has found.

    ``images``: how many were evaluated, or points of a trajectory. ``loss``: mean cross-entropy in
    nats, or mean squared error. ``accuracy``: a fraction, None where nothing is classified.
    ``nfe``: evaluations of f in all ``batches`` together, None without an ODE.
    """

    images: int
    batches: int
    loss: float
    accuracy: float | None
    nfe: int | None

    @property
    def nfe_mean(self) -> float | None:
        """Evaluations of f per batch; None without an ODE."""
        return None if self.nfe is None else self.nfe / self.batches


@torch.no_grad()
def evaluate(
    model: Classifier, images: ImageSet, batch_size: int, preprocess: Preprocess, backend: Backend
) -> Metrics:
    """Evaluate a model on images, without augmentation and in evaluation mode.

    Cost: one forward pass for each batch of ``batch_size`` images. Raises ``SolveFailed``.
    """
    training = model.training
    model.eval()
    loss = 0.0
    correct = batches = nfe = 0
    for batch in in_batches(images, batch_size):
        with backend.autocast(), compiler.for_batch(model, len(batch), batch_size):
            logits = model(preprocess(batch.pixels))
        loss += float(cross_entropy(logits.to(backend.dtype), batch.labels, reduction="sum"))
        correct += int((logits.argmax(1) == batch.labels).sum())
        batches += 1
        work = model.take_work()
        nfe += work.nfe_forward if work else 0
    model.train(training)
    return Metrics(
        images=len(images),
        batches=batches,
        loss=loss / len(images),
        accuracy=correct / len(images),
        nfe=nfe if work else None,
    )


def evaluate_splits(
    config: Config,
    model: Classifier,
    splits: Mapping[str, ImageSet],
    preprocess: Preprocess,
    backend: Backend,
    step: int,
    *,
    test: bool = True,
) -> dict[str, Metrics]:
    """Evaluate the splits that there are, after ``step`` training steps; return metrics by split.

    ``test``: whether the test split is among them. Training images are evaluated as ``eval.train``
    says. Raises ``Diverged`` where a loss is not finite, and ``SolveFailed``.
    """
    chosen = {name: splits[name] for name in ("holdout", "test") if name in splits}
    if not test:
        del chosen["test"]
    if config.eval.train != "none":
        chosen["train"] = _training_images(config, splits["train"], step)
    metrics = {
        name: evaluate(model, images, config.eval.batch_size, preprocess, backend)
        for name, images in chosen.items()
    }
    for name, m in metrics.items():
        if not math.isfinite(m.loss):
            raise Diverged(f"step {step}: {name} loss {m.loss:g}")
    return metrics


def nfe_mean(metrics: Mapping[str, Metrics]) -> float | None:
    """Return the evaluations of f per batch over all splits.

    None without an ODE, and where nothing was evaluated.
    """
    if not metrics or any(m.nfe is None for m in metrics.values()):
        return None
    return sum(m.nfe or 0 for m in metrics.values()) / sum(m.batches for m in metrics.values())


def _training_images(config: Config, train: ImageSet, step: int) -> ImageSet:
    """Return all training images, or N batches of them, drawn from a stream of their own."""
    if not isinstance(config.eval.train, int):
        return train
    generator = stream(config.seed, "evaluation", step)
    drawn = torch.randperm(len(train), generator=generator)
    drawn = drawn[: config.eval.train * config.eval.batch_size]
    return train[drawn.to(train.labels.device)]


def evaluation_rows(
    metrics: Mapping[str, Metrics], step: int, epoch: int
) -> Iterator[dict[str, Any]]:
    """Yield the rows of evaluations.csv."""
    for split, m in metrics.items():
        yield {
            "step": step,
            "epoch": epoch,
            "split": split,
            "images": m.images,
            "loss": m.loss,
            "accuracy": m.accuracy,
            "nfe_mean": m.nfe_mean,
        }


def split_numbers(metrics: Mapping[str, Metrics]) -> dict[str, float | None]:
    """Return the loss and the accuracy of each split, by the names of epochs.csv, and the
    evaluations of f per batch."""
    found: dict[str, float | None] = {
        evaluated(split, name): value
        for split, m in metrics.items()
        for name, value in (("loss", m.loss), ("accuracy", m.accuracy))
    }
    return found | {"nfe_eval_mean": nfe_mean(metrics)}
