"""Evaluation of a model on the splits of the data. Training goes on as if there had been none."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from node_cli.config.schema import Config
from node_cli.data.batches import Preprocess, in_batches
from node_cli.data.images import ImageSet
from node_cli.data.streams import stream
from node_cli.learn.metrics import FurtherMetrics
from node_cli.learn.norm_statistics import statistics_for_evaluation
from node_cli.machine import compiler
from node_cli.machine.device import Backend
from node_cli.models.classifier import Classifier
from node_cli.models.model import Model
from node_cli.ode.failures import SolveFailed
from node_cli.records.splits import averaged_split, evaluated


class Diverged(RuntimeError):
    """The loss, or the norm of its gradient, is not finite."""


@dataclass(frozen=True)
class Metrics:
    """What the evaluation of one split has found.

    ``images``: how many were evaluated, or points of a trajectory. ``loss``: mean cross-entropy in
    nats, or mean squared error, None where nothing could be solved. ``accuracy``: a fraction, None
    where nothing is classified. ``nfe``: evaluations of f in all ``batches`` together that could be
    solved, None without an ODE. ``unsolved``: images in batches whose solve failed; they have no
    loss, and count as classified wrongly. ``further``: those of ``eval.metrics`` that are numbers.
    """

    images: int
    batches: int
    loss: float | None
    accuracy: float | None
    nfe: int | None
    unsolved: int = 0
    further: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def nfe_mean(self) -> float | None:
        """Evaluations of f per batch; None without an ODE."""
        return None if self.nfe is None or not self.batches else self.nfe / self.batches


@torch.no_grad()
def evaluate(
    model: Classifier,
    images: ImageSet,
    batch_size: int,
    preprocess: Preprocess,
    backend: Backend,
    *,
    skip: bool = False,
    further: FurtherMetrics | None = None,
) -> Metrics:
    """Evaluate a model on images, without augmentation and in evaluation mode.

    ``skip``: count the images of a batch whose solve fails as wrong. ``further``: measured beside
    loss and accuracy. Cost: one forward pass for each batch of ``batch_size`` images; with
    ``further`` also the memory of all logits. Raises ``SolveFailed``, but for ``skip``.
    """
    training = model.training
    model.eval()
    found: list[Tensor] = []  # of each batch: loss, and number of correct images
    kept: list[tuple[Tensor, Tensor]] = []
    nfe = unsolved = 0
    for batch in in_batches(images, batch_size, backend.device):
        try:
            with backend.autocast(), compiler.for_batch(model, len(batch), batch_size):
                logits = model(preprocess(batch.pixels))
        except SolveFailed:
            if not skip:
                raise
            unsolved += len(batch)
            model.take_work()
            continue
        loss = cross_entropy(logits.to(backend.dtype), batch.labels, reduction="sum")
        correct = (logits.argmax(1) == batch.labels).sum()
        found.append(torch.stack([loss.double(), correct.double()]))
        if further:
            kept.append((logits, batch.labels))
        work = model.take_work()
        nfe += work.nfe_forward if work else 0
    model.train(training)
    batches, solved = len(found), len(images) - unsolved
    losses, corrects = zip(*torch.stack(found).tolist(), strict=True) if found else ((), ())
    return Metrics(
        images=len(images),
        batches=batches,
        loss=sum(losses) / solved if solved else None,
        accuracy=int(sum(corrects)) / len(images),
        nfe=nfe if batches and work else None,
        unsolved=unsolved,
        further=further(kept, len(images)) if further else {},
    )


@contextmanager
def without_budget(config: Config, model: Model) -> Iterator[None]:
    """Lift ``solver.max_nfe``, a budget of training, for the evaluations of a training that is to
    go on when solves fail."""
    blocks = model.ode_blocks if config.task == "train" and skips(config) else []
    solvers = [block.solver for block in blocks]
    for block in blocks:
        block.solver = replace(block.solver, max_nfe=None)
    try:
        yield
    finally:
        for block, solver in zip(blocks, solvers, strict=True):
            block.solver = solver


def skips(config: Config) -> bool:
    """Whether a failed solve is to end nothing."""
    return config.train.on_solver_failure == "skip"


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
    metrics, size, skip = {}, config.eval.batch_size, skips(config)
    further = FurtherMetrics(config.eval)
    with (
        without_budget(config, model),
        statistics_for_evaluation(config, model, splits["train"], preprocess, backend, skip=skip),
    ):
        for name, images in chosen.items():
            with told_of_evaluation(name, step):
                metrics[name] = evaluate(
                    model, images, size, preprocess, backend, skip=skip, further=further
                )
    for name, m in metrics.items():
        if m.loss is not None and not math.isfinite(m.loss):
            raise Diverged(f"step {step}: {name} loss {m.loss:g}")
    return metrics


@contextmanager
def told_of_evaluation(split: str, step: int) -> Iterator[None]:
    """A ``SolveFailed`` inside says that it was in an evaluation, and of which split."""
    try:
        yield
    except SolveFailed as error:
        error.args = (f"evaluation of {split} after step {step}: {error}",)
        raise


def nfe_mean(metrics: Mapping[str, Metrics]) -> float | None:
    """Return the evaluations of f per batch over all splits.

    None without an ODE, and where nothing was evaluated.
    """
    if not metrics or any(m.nfe is None for m in metrics.values()):
        return None
    batches = sum(m.batches for m in metrics.values())
    return sum(m.nfe or 0 for m in metrics.values()) / batches if batches else None


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
            "unsolved": m.unsolved,
            **m.further,
        }


def split_numbers(metrics: Mapping[str, Metrics]) -> dict[str, float | None]:
    """Return the loss, the accuracy and the further metrics of each split, by the names of
    epochs.csv, and the evaluations of f per batch."""
    found: dict[str, float | None] = {
        evaluated(split, name): value
        for split, m in metrics.items()
        for name, value in {"loss": m.loss, "accuracy": m.accuracy, **m.further}.items()
    }
    # Of the weights themselves, not of their average.
    of_weights = {n: m for n, m in metrics.items() if n not in map(averaged_split, metrics)}
    return found | {"nfe_eval_mean": nfe_mean(of_weights)}
