"""The task that all contenders of ``training_step.py`` share: data, weights, and the torch step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from node_cli.cli.compose import Composer
from node_cli.data import sources
from node_cli.data.batches import Preprocess
from node_cli.data.catalog import IMAGES
from node_cli.errors import UserError
from node_cli.models.fields import FIELDS
from node_cli.models.heads import HEADS
from node_cli.models.shape import output_shape
from node_cli.models.stems import STEMS
from speed.contenders import Task

BATCH = 128
# 128 batches are a quarter of MNIST: 51 MB in each worker. They come round again.
BATCHES = 128
IMAGE = (1, 28, 28)
CLASSES = 10
HEAD_OF_MODEL = {"dense": "linear", "conv": "pool"}
LEARNING_RATE = 1e-3


class Evaluations(NamedTuple):
    """Evaluations of f in one training step, forward and backward; VJPs where they are counted."""

    forward: int
    backward: int
    vjps: int | None = None


class TrainingStep(Protocol):
    """What a contender is; ``index`` counts training steps from 0 and names the batch."""

    def step(self, index: int) -> None:
        """One update of the weights; may return before it is computed."""

    def wait(self) -> None:
        """Until all that was asked for is computed."""

    def losses(self) -> list[float]:
        """The loss of every step so far, before its update."""

    def count(self, index: int) -> Evaluations:
        """Evaluations in a step on that batch, weights left alone; not for timing."""


def arrays(task: Task) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images [BATCHES, BATCH, 1, 28, 28], normalised, and labels [BATCHES, BATCH]."""
    with np.load(task.data) as stored:
        return stored["images"], stored["labels"]


class Modules(NamedTuple):
    stem: nn.Module
    field: nn.Module
    head: nn.Module

    def parameters(self) -> list[nn.Parameter]:
        return [p for part in self for p in part.parameters()]


def modules(task: Task) -> Modules:
    """The parts of the model with their first weights, the same ones for every contender."""
    torch.manual_seed(task.seed)
    stem = STEMS[task.model](IMAGE)
    state = output_shape(stem, IMAGE)
    parts = Modules(
        stem, FIELDS[task.model](state), HEADS[HEAD_OF_MODEL[task.model]](state, CLASSES)
    )
    return Modules(*(part.to(task.device) for part in parts))


def prepare(root: str, seed: int, path: Path) -> str:
    """Write the batches to a file; returns one line on where they are from."""
    generator = torch.Generator().manual_seed(seed)
    facts = IMAGES["mnist"]
    count = BATCHES * BATCH
    with Composer() as composer:
        (job,) = composer.command(
            composer.parse(["data=mnist", "data.download=false"]), multirun=False
        ).jobs
    config = job.config.image_data.model_copy(update={"root": root})
    try:
        train = sources.load(config, seed)["train"]
    except UserError:
        images = torch.randn(count, *IMAGE, generator=generator)
        labels = torch.randint(CLASSES, (count,), generator=generator)
        words = f"random images and labels, since there is no MNIST under {root}"
    else:
        part = train[torch.randperm(len(train), generator=generator)[:count]]
        preprocess = Preprocess(torch.float32, torch.device("cpu"), facts.mean, facts.std)
        images, labels = preprocess(part.pixels), part.labels
        words = f"MNIST, {count:,} training images"
    np.savez(
        path,
        images=images.view(BATCHES, BATCH, *IMAGE).numpy(),
        labels=labels.view(BATCHES, BATCH).numpy(),
    )
    return f"{words}, in {BATCHES} batches of {BATCH}"


class TorchStep:
    """A training step as one writes it in torch: cross-entropy, zero_grad, backward, step.

    ``predict``: images [N, 1, 28, 28] to logits. ``field``: f, whose calls are counted where the
    contender does not count them itself. ``optimizer``: Adam as torch has it, if None.
    """

    def __init__(
        self,
        task: Task,
        predict: Callable[[Tensor], Tensor],
        parameters: list[nn.Parameter],
        field: nn.Module | None = None,
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        self.predict = predict
        self.field = field
        self.optimizer = optimizer or torch.optim.Adam(parameters, LEARNING_RATE)
        images, labels = arrays(task)
        self.images = torch.from_numpy(images).to(task.device)
        self.labels = torch.from_numpy(labels).to(task.device)
        self.device = task.device
        self.history: list[Tensor] = []

    def loss(self, index: int) -> Tensor:
        index %= BATCHES
        return cross_entropy(self.predict(self.images[index]), self.labels[index])

    def step(self, index: int) -> None:
        loss = self.loss(index)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.history.append(loss.detach())

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def losses(self) -> list[float]:
        return [float(loss) for loss in self.history]

    def count(self, index: int) -> Evaluations:
        assert self.field is not None
        with calls_of(self.field) as calls:
            loss = self.loss(index)
            forward = len(calls)
            loss.backward()
        return Evaluations(forward, len(calls) - forward)


@contextmanager
def calls_of(module: nn.Module) -> Iterator[list[None]]:
    """A list that grows by one with every call of the module."""
    calls: list[None] = []
    handle = module.register_forward_hook(lambda *_: calls.append(None))
    try:
        yield calls
    finally:
        handle.remove()
