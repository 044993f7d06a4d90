"""Evaluation of a model on the splits of the data. Training goes on as if there had been none."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
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
from node_cli.learn.observer import Seen, unseen
from node_cli.machine import compiler
from node_cli.machine.device import Backend
from node_cli.machine.ranks import ALONE, Ranks
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


@dataclass(frozen=True)
class _Batch:
    """What the evaluation of one batch has found; ``loss``: the sum over its images, None where it
    could not be solved. ``answers``: logits [n, classes] and labels [n], if they are wanted."""

    images: int
    loss: float | None = None
    correct: int = 0
    nfe: int | None = None
    answers: tuple[Tensor, Tensor] | None = None


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
    given = model, images, batch_size, preprocess, backend
    return _metrics(_batch_by_batch(*given, skip=skip, answers=bool(further)), further)


@torch.no_grad()
def _batch_by_batch(
    model: Classifier,
    images: ImageSet,
    batch_size: int,
    preprocess: Preprocess,
    backend: Backend,
    *,
    skip: bool,
    answers: bool,
    ranks: Ranks = ALONE,
    seen: Callable[[int, int], object] = lambda done, images: None,
) -> list[_Batch]:
    """Evaluate every batch; of several processes each those that it is dealt, one by one."""
    training = model.training
    model.eval()
    turn = ranks.rank, ranks.size
    found: list[_Batch] = []
    measured: list[Tensor] = []  # of each batch: loss, and number of correct images
    for number, batch in enumerate(in_batches(images, batch_size, backend.device, turn=turn)):
        seen(min(number * ranks.size * batch_size, len(images)), len(images))
        try:
            with backend.autocast(), compiler.for_batch(model, len(batch), batch_size):
                logits = model(preprocess(batch.pixels))
        except SolveFailed:
            if not skip:
                raise
            found.append(_Batch(len(batch)))
            model.take_work()
            continue
        loss = cross_entropy(logits.to(backend.dtype), batch.labels, reduction="sum")
        correct = (logits.argmax(1) == batch.labels).sum()
        measured.append(torch.stack([loss.double(), correct.double()]))
        work = model.take_work()
        found.append(
            _Batch(
                len(batch),
                loss=math.nan,
                nfe=work.nfe_forward if work else None,
                answers=(logits, batch.labels) if answers else None,
            )
        )
    model.train(training)
    # Read back together, so that the host waits for the device once.
    values = iter(torch.stack(measured).tolist() if measured else [])
    return [batch if batch.loss is None else _read(batch, *next(values)) for batch in found]


def _read(batch: _Batch, loss: float, correct: float) -> _Batch:
    """A batch with its numbers, and all of it on the host."""
    answers = batch.answers and (batch.answers[0].cpu(), batch.answers[1].cpu())
    return replace(batch, loss=loss, correct=int(correct), answers=answers)


def _metrics(batches: Sequence[_Batch], further: FurtherMetrics | None) -> Metrics:
    """The metrics of a split from all of its batches."""
    images = sum(b.images for b in batches)
    solved = [b for b in batches if b.loss is not None]
    solved_images = sum(b.images for b in solved)
    counts = [b.nfe for b in solved if b.nfe is not None]
    answers = [b.answers for b in solved if b.answers]
    return Metrics(
        images=images,
        batches=len(solved),
        loss=sum(b.loss or 0.0 for b in solved) / solved_images if solved else None,
        accuracy=sum(b.correct for b in solved) / images,
        nfe=sum(counts) if counts else None,
        unsolved=images - solved_images,
        further=further(answers, images) if further else {},
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
    ranks: Ranks = ALONE,
    seen: Seen = unseen,
) -> dict[str, Metrics]:
    """Evaluate the splits that there are, after ``step`` training steps; return metrics by split.

    ``test``: whether the test split is among them. Training images are evaluated as ``eval.train``
    says. ``ranks``: the processes that evaluate together. ``seen``: is told how far it is before
    each batch. Raises ``Diverged`` where a loss is not finite, and ``SolveFailed``.
    """
    chosen = {name: splits[name] for name in ("holdout", "test") if name in splits}
    if not test:
        del chosen["test"]
    if config.eval.train != "none":
        chosen["train"] = _training_images(config, splits["train"], step)
    found, size, skip = {}, config.eval.batch_size, skips(config)
    further = FurtherMetrics(config.eval)
    with (
        ranks.together(),
        without_budget(config, model),
        statistics_for_evaluation(config, model, splits["train"], preprocess, backend, skip=skip),
    ):
        for name, images in chosen.items():
            given = model, images, size, preprocess, backend
            tell = partial(seen, name)
            with told_of_evaluation(name, step):
                found[name] = _batch_by_batch(
                    *given, skip=skip, answers=bool(further), ranks=ranks, seen=tell
                )
    metrics = {
        name: _metrics([*_dealt(ranks.gathered(batches))], further)
        for name, batches in found.items()
    }
    for name, m in metrics.items():
        if m.loss is not None and not math.isfinite(m.loss):
            raise Diverged(f"step {step}: {name} loss {m.loss:g}")
    return metrics


def _dealt(by_rank: Sequence[Sequence[_Batch]]) -> Iterator[_Batch]:
    """The batches that were dealt to the processes, in their order."""
    for round_ in zip_longest(*by_rank):
        yield from (batch for batch in round_ if batch is not None)


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
