"""What is learned: the data, the loss and the evaluation that the training loop works with."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from node_cli.config.schema import Config
from node_cli.data.inputs import Inputs
from node_cli.learn.evaluation import Metrics
from node_cli.learn.observer import Further, Seen, unseen
from node_cli.learn.update import Outcome
from node_cli.machine.device import Backend
from node_cli.machine.ranks import ALONE, Ranks
from node_cli.models.model import Model
from node_cli.models.shape import Shape
from node_cli.records.columns import Record
from node_cli.records.run_folder import RunFolder

Batch = TypeVar("Batch", bound=Sized)
"""What one training step learns from. Its length is the weight of its loss in the epoch's mean."""


class Objective(Protocol[Batch]):
    """A model with the data that it learns from, its loss and its evaluation.

    Everything random is a function of the configuration and of the epoch or the step.
    """

    further: Sequence[Record]
    """The records that an evaluation adds rows to, beside evaluations.csv."""

    @property
    def model(self) -> Model: ...

    @property
    def inputs(self) -> Inputs | None:
        """What is needed to classify images with the model; None where it does not classify."""

    @property
    def sample(self) -> Shape:
        """The shape of one input of the model, without the batch."""

    @property
    def splits(self) -> Mapping[str, int]:
        """How many ``units`` each split has; ``train`` is the one that is learned from."""

    @property
    def units(self) -> str:
        """What the data consists of: images, points."""

    @property
    def batches_per_epoch(self) -> int:
        """Training steps of an epoch."""

    def __init__(self, config: Config, model: Any, backend: Backend, ranks: Ranks = ALONE) -> None:
        """Load the data. ``model``: from ``build``. ``ranks``: the processes that learn together,
        each from its part of every batch. Raises ``UserError`` where data is missing."""

    @staticmethod
    def check(config: Config) -> None:
        """Raise ``UserError`` for what is wrong with the data, as far as it shows without reading
        any."""

    @staticmethod
    def build(config: Config) -> Model:
        """Return a new model, weights drawn from torch's global generator. Raises ``UserError``."""

    def batches(self, epoch: int, done: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 0, after the first ``done``."""

    def gradient(self, batch: Batch, step: int) -> Outcome:
        """Add the gradient of a batch to the parameters' ``grad``; return what was measured.

        ``step``: how many steps were made before. Raises ``SolveFailed``.
        """

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch in the first step, a scalar with its graph.

        ``model``: the model or a copy of it, on any device and of any dtype.
        """

    def evaluate(self, step: int, seen: Seen = unseen) -> tuple[dict[str, Metrics], Further]:
        """Evaluate after ``step`` steps; return metrics by split, and rows of the ``further``
        records. ``seen``: is told how far it is. Raises ``Diverged`` and ``SolveFailed``."""

    def begin(self, folder: RunFolder) -> None:
        """Write what is known of the data before training."""

    def finish(self, folder: RunFolder, seen: Seen = unseen) -> None:
        """Write what is known of the model after training or evaluation. ``seen``: is told how far
        an evaluation is."""

    def data_in_words(self) -> str:
        """Describe the data, for the header of a run."""

    def batch_in_words(self, batch: Batch) -> str:
        """Describe a batch, for check_gradients."""
