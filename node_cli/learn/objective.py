"""What the training loop needs to know of the kind of learning."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn

from node_cli.config.schema import Config
from node_cli.learn.evaluation import Metrics
from node_cli.learn.update import Outcome
from node_cli.machine.device import Backend
from node_cli.models.model import Model
from node_cli.models.shape import Shape
from node_cli.records.run_folder import CsvLog, RunFolder

Batch = TypeVar("Batch", bound=Sized)
"""What one training step learns from; its length is the weight of its loss in the epoch's."""


class Objective(Protocol[Batch]):
    """Data, a loss, and an evaluation, around a model.

    Everything random is a function of the configuration and of the epoch or the step.
    """

    @property
    def model(self) -> Model: ...

    @property
    def sample(self) -> Shape:
        """The shape of what the model is given."""

    @property
    def splits(self) -> Mapping[str, int]:
        """How many ``units`` each has; the one called train is learnt from."""

    @property
    def units(self) -> str: ...

    @property
    def batches_per_epoch(self) -> int: ...

    def __init__(self, config: Config, model: Any, backend: Backend) -> None:
        """Loads the data. ``model``: from ``build``. Raises ``UserError`` where data is missing."""

    @staticmethod
    def check(config: Config) -> None:
        """Raises ``UserError`` for all that can be known of the data without reading any."""

    @staticmethod
    def build(config: Config) -> Model:
        """The model, weights drawn from torch's global generator. Raises ``UserError``."""

    def batches(self, epoch: int, done: int) -> Iterator[Batch]:
        """Those of an epoch, counted from 0, after the first ``done``."""

    def gradient(self, batch: Batch, step: int) -> Outcome:
        """The loss in the step after ``step`` others, the gradient in the parameters' ``grad``.

        Raises ``SolveFailed``.
        """

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of the first step under any copy of the model, whatever its dtype and device."""

    def evaluate(self, step: int) -> dict[str, Metrics]:
        """Of each split to evaluate after ``step`` steps. Raises ``Diverged``, ``SolveFailed``."""

    def records(self, folder: RunFolder, keep_to_step: int) -> Sequence[CsvLog]:
        """Opens what an evaluation records beside its metrics, for the caller to close."""

    def finish(self, folder: RunFolder) -> None:
        """Records what is of interest once, of the model as it is in the end."""

    def data_in_words(self) -> str: ...

    def batch_in_words(self, batch: Batch) -> str: ...
