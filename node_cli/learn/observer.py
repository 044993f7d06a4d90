"""Who watches a training, and the events that every observer gets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.errors import complain, one_line
from node_cli.records.columns import Record
from node_cli.records.progress import Progress
from node_cli.records.run_folder import RunFolder

Row = Mapping[str, Any]
"""The values of a row by the columns of its record; None where there is no such number."""

Further = Mapping[Record, Sequence[Row]]
"""What an evaluation records beside its metrics: a learned trajectory, say."""


Seen = Callable[[str, int, int], object]
"""Is told how far an evaluation is: the split, how many of its images are done, and all of them."""


def unseen(split: str, done: int, images: int) -> None:
    """Where nobody wants to know."""


@dataclass(frozen=True)
class TrainingFacts:
    """What is known when a training starts.

    ``steps_done``: by the checkpoint that it resumes from, 0 without one. ``batches_per_epoch``:
    steps of an epoch. ``further``: the records that evaluations add rows to, beside their metrics.
    """

    steps_done: int
    batches_per_epoch: int
    further: Sequence[Record]


class Observer:
    """Watches one training; one that derives from this has methods for the events that it wants.
    ``tasks/observers.py`` has the table of observers.

    ``required``: whether the run fails where the observer does. Records are required; a display
    that fails is dropped, and the run goes on.
    """

    required: ClassVar[bool] = False

    def __init__(self, config: Config, folder: RunFolder, display: Display) -> None:
        """Made once for a run; opens nothing yet."""

    def start(self, facts: TrainingFacts) -> None:
        """Training starts, or goes on after ``facts.steps_done`` steps."""

    def step(self, progress: Progress, row: Row) -> None:
        """A step was made. ``row``: of steps.csv; without a loss where the batch was skipped."""

    def evaluating(self, split: str, done: int, images: int) -> None:
        """An evaluation has done so many of a split's images. An observer may be without this."""

    def evaluation(self, rows: Sequence[Row], further: Further) -> None:
        """The model was evaluated. ``rows``: of evaluations.csv, one for each split."""

    def epoch(self, row: Row) -> None:
        """An epoch was completed. ``row``: of epochs.csv."""

    def checkpoint(self) -> None:
        """A checkpoint is about to be written: all that was recorded must be on disk on return."""

    def end(self) -> None:
        """Training is over, or has failed. Called once ``start`` was, whatever happened."""


class Observers:
    """Passes each event on to all observers, in their order."""

    def __init__(self, watching: Mapping[str, Observer]) -> None:
        """``watching``: by name, required ones first."""
        self.watching = dict(watching)

    def start(self, facts: TrainingFacts) -> None:
        self._tell(lambda observer: observer.start(facts))

    def step(self, progress: Progress, row: Row) -> None:
        self._tell(lambda observer: observer.step(progress, row))

    def evaluating(self, split: str, done: int, images: int) -> None:
        def tell(observer: Observer) -> None:
            if hasattr(observer, "evaluating"):  # packages of before have none
                observer.evaluating(split, done, images)

        self._tell(tell)

    def evaluation(self, rows: Sequence[Row], further: Further) -> None:
        self._tell(lambda observer: observer.evaluation(rows, further))

    def epoch(self, row: Row) -> None:
        self._tell(lambda observer: observer.epoch(row))

    def checkpoint(self) -> None:
        self._tell(lambda observer: observer.checkpoint())

    def end(self) -> None:
        self._tell(lambda observer: observer.end())

    def _tell(self, event: Callable[[Observer], None]) -> None:
        """Raises what a required observer raises; another one that fails is told nothing more."""
        for name, observer in list(self.watching.items()):
            try:
                event(observer)
            except Exception as error:
                if observer.required:
                    raise
                del self.watching[name]
                complain(f"observer {name}: dropped, it failed ({one_line(error)})")
