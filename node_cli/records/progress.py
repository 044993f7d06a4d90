"""How far a training has come: plain values, part of every checkpoint."""

from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import NonNegativeInt, TypeAdapter

from node_cli.ode.work import Work


@dataclass
class EpochSums:
    """Running sums over the steps of the epoch in progress.

    ``images``: those of every batch so far, of which ``trained`` were not left out; ``skipped``:
    batches left out. A window of a trajectory counts as an image. ``correct``: None where
    nothing is classified. ``rejected``: forward and backward; None where the solver does not report
    its steps.
    """

    batches: NonNegativeInt = 0
    skipped: NonNegativeInt = 0
    images: NonNegativeInt = 0
    trained: NonNegativeInt = 0
    seconds: float = 0.0
    eval_seconds: float = 0.0
    loss: float = 0.0
    correct: int | None = 0
    nfe_forward: int = 0
    nfe_forward_max: int = 0
    nfe_backward: int = 0
    nfe_backward_max: int = 0
    vjps_backward: int = 0
    rejected: int | None = 0

    @property
    def updates(self) -> int:
        """Batches that were not left out."""
        return self.batches - self.skipped

    @property
    def accuracy(self) -> float | None:
        """Of the images that were trained on; None where nothing is classified."""
        return self.correct / self.trained if self.trained and self.correct is not None else None

    def skip(self, images: int) -> None:
        """Count one batch that was left out."""
        self.batches += 1
        self.skipped += 1
        self.images += images

    def add(self, images: int, loss: float, correct: int | None, work: Work | None) -> None:
        """Count one step; ``loss`` is the mean over its images."""
        self.batches += 1
        self.images += images
        self.trained += images
        self.loss += loss * images
        if self.correct is None or correct is None:
            self.correct = None
        else:
            self.correct += correct
        if work is None:
            return
        self.nfe_forward += work.nfe_forward
        self.nfe_forward_max = max(self.nfe_forward_max, work.nfe_forward)
        self.nfe_backward += work.nfe_backward
        self.nfe_backward_max = max(self.nfe_backward_max, work.nfe_backward)
        self.vjps_backward += work.vjps_backward
        rejected = (self.rejected, work.forward.rejected, work.backward.rejected)
        self.rejected = None if None in rejected else sum(r for r in rejected if r is not None)


@dataclass
class Progress:
    """``step``: updates made. ``epoch``: epochs completed. ``sums.batches``: how many batches of
    the epoch in progress are done. ``best_score``: best holdout accuracy at the end of an epoch.
    """

    step: NonNegativeInt = 0
    epoch: NonNegativeInt = 0
    best_score: float | None = None
    best_epoch: int | None = None
    sums: EpochSums = field(default_factory=EpochSums)

    @property
    def current_epoch(self) -> int:
        """The epoch in progress, or the one just completed, counted from 1; 0 before the first."""
        return self.epoch + (self.sums.batches > 0)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Progress":
        """Raises ValueError where a value is not of the type that belongs there."""
        return TypeAdapter(cls).validate_python(state)
