"""Learning to classify images."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from node_cli.config.schema import Config
from node_cli.config.solver import shares_steps
from node_cli.config.tasks import TASKS
from node_cli.data import sources
from node_cli.data.augment import Augmented
from node_cli.data.batches import (
    Preprocess,
    batches_per_epoch,
    in_batches,
    order_of_epoch,
)
from node_cli.data.catalog import PLANE
from node_cli.data.images import ImageSet
from node_cli.data.inputs import inputs_of
from node_cli.data.placement import place
from node_cli.errors import complain, one_line
from node_cli.learn.answers import answers
from node_cli.learn.evaluation import Metrics, evaluate_splits
from node_cli.learn.metrics import check as check_metrics
from node_cli.learn.metrics import confusion
from node_cli.learn.norm_statistics import statistics_for_evaluation, warn_of_gap
from node_cli.learn.observer import Further, Seen, unseen
from node_cli.learn.plane import boundary, points, vector_field
from node_cli.learn.regularisation import Penalties, Regularisation
from node_cli.learn.state_flow import classes, flow
from node_cli.learn.state_paths import paths
from node_cli.learn.update import Outcome, gradient_norm
from node_cli.learn.whole_step import WholeStep
from node_cli.machine import compiler
from node_cli.machine.device import Backend
from node_cli.machine.ranks import ALONE, Ranks
from node_cli.models import classifier
from node_cli.models.classifier import Classifier
from node_cli.ode.failures import SolveFailed
from node_cli.ode.norms import SharedNorm
from node_cli.ode.work import Work
from node_cli.records.columns import (
    BOUNDARY,
    CLASSES,
    FLOW,
    PATHS,
    POINTS,
    VECTOR_FIELD,
    Record,
)
from node_cli.records.files import write_csv
from node_cli.records.run_folder import RunFolder


class Classification:
    """The ``Objective`` of images and their labels. The loss is the mean cross-entropy in nats; in
    a training step, with the labels smoothed as ``train.label_smoothing`` says."""

    units = "images"
    further: Sequence[Record] = ()

    def __init__(
        self, config: Config, model: Classifier, backend: Backend, ranks: Ranks = ALONE
    ) -> None:
        self.config = config
        self.model = model
        self.backend = backend
        self.ranks = ranks
        known = sources.facts(config.image_data)
        self.sample = known.shape
        splits = sources.load(config.image_data, config.seed)
        self.inputs = inputs_of(config.image_data, known, splits["train"])
        self.images = place(splits, backend.device)
        self.splits = {name: len(images) for name, images in self.images.items()}
        self.preprocess = Preprocess(
            backend.dtype,
            backend.device,
            self.inputs.mean,
            self.inputs.std,
        )
        self.augmented = Augmented(config.image_data, config.seed, self.preprocess, known.classes)
        steps = config.epochs * self.batches_per_epoch
        self.gradient_of = BatchGradient(config, model, backend, steps, ranks)

    @property
    def batches_per_epoch(self) -> int:
        return batches_per_epoch(self.config, self.splits["train"])

    @staticmethod
    def check(config: Config) -> None:
        check_metrics(config.eval, sources.facts(config.image_data).classes)
        left = sources.check(config.image_data)
        if TASKS[config.task].gradients != "none":
            batches_per_epoch(config, left)

    @staticmethod
    def build(config: Config) -> Classifier:
        known = sources.facts(config.image_data)
        return classifier.build(config, known.shape, known.classes)

    def batches(self, epoch: int, done: int) -> Iterator[ImageSet]:
        size = self.config.batch_size
        order = order_of_epoch(self.config, self.splits["train"], epoch)
        images, device = self.images["train"], self.backend.device
        return in_batches(images, size, device, order[done * size :])

    def gradient(self, batch: ImageSet, step: int) -> Outcome:
        return self.gradient_of(*self.augmented(batch, step), step)

    def loss(self, model: nn.Module, batch: ImageSet) -> Tensor:
        example = next(model.parameters())
        images, labels = self.augmented(batch, step=0)
        logits = model(images.to(example))
        labels = labels.to(example) if labels.is_floating_point() else labels.to(example.device)
        return cross_entropy(logits.to(example.dtype), labels)

    def evaluate(self, step: int, seen: Seen = unseen) -> tuple[dict[str, Metrics], Further]:
        config = self.config
        at_the_end = step == config.epochs * self.batches_per_epoch
        metrics = evaluate_splits(
            config,
            self.model,
            self.images,
            self.preprocess,
            self.backend,
            step,
            test=at_the_end or config.eval.test == "always" or not TASKS[config.task].trains,
            ranks=self.ranks,
            seen=seen,
        )
        return metrics, {}

    def begin(self, folder: RunFolder) -> None:
        pass

    def finish(self, folder: RunFolder, seen: Seen = unseen) -> None:
        config, train, test = self.config, self.images["train"], self.images["test"]
        given = (config, self.model, train, self.preprocess, self.backend)
        try:
            with statistics_for_evaluation(*given, skip=False):
                warn_of_gap(*given)
                self._measure(folder, test, train, seen)
                for path, record, rows in self._looks(folder, test):
                    if found := list(rows):
                        write_csv(path, record.columns, found)
        except SolveFailed as error:  # these solves land on more times than training does
            complain(f"{folder.path}: not everything that plots show ({one_line(error)})")

    def _measure(self, folder: RunFolder, test: ImageSet, train: ImageSet, seen: Seen) -> None:
        """Write the confusion matrix. Cost: one more evaluation of the test split."""
        if "confusion" not in self.config.eval.metrics:
            return
        given = self.config, self.model, test, train, self.preprocess, self.backend
        found = answers(*given, seen=partial(seen, "test"))
        for record, rows in confusion(found.logits, test.labels.cpu(), self.inputs.names):
            write_csv(folder.path / record.file, record.columns, rows)

    def _looks(
        self, folder: RunFolder, test: ImageSet
    ) -> Iterator[tuple[Path, Record, Iterator[dict[str, Any]]]]:
        """The records of what the trained model does, each with its rows."""
        given = self.model, test, self.preprocess, self.backend
        yield folder.paths, PATHS, paths(*given)
        yield folder.flow, FLOW, flow(*given)
        yield folder.classes, CLASSES, classes(*given)
        if self.sample == PLANE:
            yield folder.points, POINTS, points(test)
            yield folder.boundary, BOUNDARY, boundary(*given)
            if self.model.ode_blocks:
                yield folder.vector_field, VECTOR_FIELD, vector_field(*given)

    def data_in_words(self) -> str:
        splits = " / ".join(f"{size:,} {name}" for name, size in self.splits.items())
        return f"{[*self.sample]}, {splits}"

    def batch_in_words(self, batch: ImageSet) -> str:
        return f"{len(batch)} images that a training takes"


class BatchGradient:
    """Computes the gradient of a batch.

    In one compiled graph (``WholeStep``) where the model is compiled and suits it, nothing is
    regularised, and the batch has the usual size; else part by part. With ``train.accumulate`` the
    images are taken in so many groups, one after the other: the gradient is that of their mean, the
    memory that of one group. Of several processes (``ranks``) each computes with its part of every
    group: that part's share of the loss, and of its gradient.
    """

    def __init__(
        self,
        config: Config,
        model: Classifier,
        backend: Backend,
        steps: int = 1,
        ranks: Ranks = ALONE,
    ) -> None:
        """``steps``: of the whole training, over which the weights of regularisers may change."""
        self.model = model
        self.backend = backend
        self.ranks = ranks
        self.group_size = config.batch_size // config.train.accumulate
        self.usual_size = ranks.part(self.group_size)[1]
        self.sharing = model.ode_blocks if ranks.several and shares_steps(config.solver) else []
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.loss: nn.Module = Loss(model.head, backend.dtype, config.train.label_smoothing)
        self.regularisation = Regularisation(config, model, steps)
        suits = WholeStep.suits(model) and not self.regularisation and config.train.accumulate == 1
        self.whole = WholeStep(model, self.loss, backend) if suits else None
        if model.is_compiled and not self.whole:
            model.compile_around()
            self.loss.compile(fullgraph=True, dynamic=False)

    def __call__(self, images: Tensor, labels: Tensor, step: int = 0) -> Outcome:
        """Add the gradient to the parameters' ``grad``; return what was measured.

        ``images``: [N, C, H, W], preprocessed. ``labels``: [N], or [N, classes] as ``Loss`` takes
        them. ``step``: how many were made before, which regularisers depend on. Raises
        ``SolveFailed``.
        """
        if (outcome := self._at_once(images, labels)) is not None:
            return outcome
        groups = [
            (some[mine], of_some[mine], count / len(images))
            for some, of_some in zip(
                images.split(self.group_size), labels.split(self.group_size), strict=True
            )
            for mine, count in [self.ranks.part(len(some))]
        ]
        sums: list[Tensor] = []
        for group in groups:
            numbers, penalties = self._add(*group, step)
            sums = [a + b for a, b in zip(sums, numbers, strict=True)] if sums else numbers
        grad_norm = gradient_norm(self.parameters)
        work = self.model.take_work()
        loss, correct, *measured = sums
        values = (work or Work()).read(loss, grad_norm, correct, *measured)
        cells = penalties.cells(values[0], values[3:], work)
        return Outcome(values[0], values[1], int(values[2]), work, penalties=cells)

    def _at_once(self, images: Tensor, labels: Tensor) -> Outcome | None:
        """The outcome of the whole step in one graph; None where it cannot be had, and nothing is
        done."""
        if not self.whole:
            return None
        mine, count = self.ranks.part(len(images))
        if not count or count != self.usual_size:
            return None
        if (found := self.whole(images[mine], labels[mine])) is None:
            return None
        share = count / len(images)
        loss, grad_norm, correct, work = found
        if share != 1:
            torch._foreach_mul_([p.grad for p in self.parameters if p.grad is not None], share)
        return Outcome(share * loss, share * grad_norm, correct, work)

    def _add(
        self, images: Tensor, labels: Tensor, share: float, step: int
    ) -> tuple[list[Tensor], Penalties]:
        """Add ``share`` times the gradient of a group of images; return what they add to the loss,
        the number of correct ones, and what the regularisers have measured."""
        for block in self.sharing:
            block.norm = SharedNorm(self.ranks.add_up, counts=share > 0)
        with compiler.for_batch(self.model, len(images), self.usual_size):
            with self.backend.autocast(), self.regularisation.of_step(step) as penalties:
                loss, correct = self.loss(self.model.features(images), labels)
            objective = penalties.added_to(loss)
            (objective if share == 1 else share * objective).backward()
        means = [loss.detach(), *penalties.numbers(loss.dtype)]
        loss, *measured = means if share == 1 else [share * mean for mean in means]
        counted = correct.to(loss.dtype) if share else torch.zeros_like(loss)
        return [loss, counted, *measured], penalties


class Loss(nn.Module):
    """Head and loss as one module, which can be compiled."""

    def __init__(self, head: nn.Module, dtype: torch.dtype, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.head = head
        self.dtype = dtype
        self.label_smoothing = label_smoothing

    def forward(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy and the number of images classified correctly, scalars.

        ``features``: [N, ...], what the head takes. ``labels``: [N], or probabilities
        [N, classes], of which the largest is the right one.
        """
        logits = self.head(features).to(self.dtype)
        loss = cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        right = labels.argmax(1) if labels.is_floating_point() else labels
        return loss, (logits.argmax(1) == right).sum()
