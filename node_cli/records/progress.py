"""How far a training has come: plain values, part of every checkpoint."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import NonNegativeInt, TypeAdapter

from node_cli.records import measures
from node_cli.records.measure import Total
from node_cli.records.measures import PENALTY_TOTALS, TOTALS
from node_cli.records.units import Value


def _nothing_yet() -> dict[str, Value]:
    return {total.key: 0 for total in TOTALS}


@dataclass
class EpochSums:
    """Running sums over the steps of the epoch in progress.

    ``images``: those of every batch so far, of which ``trained`` were not in a skipped batch;
    ``skipped``: batches whose solve failed. A window of a trajectory counts as an image.
    ``totals``: by key, what ``measures.TOTALS`` adds up, and ``PENALTY_TOTALS`` where there are
    regularisers; None where a step had no such number.
    """

    batches: NonNegativeInt = 0
    skipped: NonNegativeInt = 0
    images: NonNegativeInt = 0
    trained: NonNegativeInt = 0
    seconds: float = 0.0
    eval_seconds: float = 0.0
    totals: dict[str, int | float | None] = field(default_factory=_nothing_yet)

    def skip(self, images: int) -> None:
        """Count one skipped batch."""
        self.batches += 1
        self.skipped += 1
        self.images += images

    def add(self, images: int, step: Mapping[str, Value]) -> None:
        """Count one step. ``step``: its numbers by name."""
        self.batches += 1
        self.images += images
        self.trained += images
        penalties = PENALTY_TOTALS if PENALTY_TOTALS[0].key in step else ()
        for total in (*TOTALS, *penalties):
            self.totals[total.key] = total.add(self.totals.get(total.key, 0), step, images)

    def row(self) -> dict[str, Value]:
        """Return the columns of epochs.csv that follow from the steps so far."""
        row: dict[str, Value] = {
            "seconds": self.seconds,
            "eval_seconds": self.eval_seconds,
            "images_per_s": self.images / self.seconds,
        }
        columns = (*measures.EPOCHS, *measures.PENALTIES_OF_EPOCH)
        return row | {m.name: self._value(m.total) for m in columns if m.total}

    def accuracy(self) -> float | None:
        """Return the accuracy of the images trained on; None where nothing is classified."""
        correct = self.totals["correct"]
        return correct / self.trained if self.trained and correct is not None else None

    def _value(self, total: Total) -> Value:
        updates = self.batches - self.skipped
        value = self.totals.get(total.key)
        if not updates or value is None:
            return None
        match total.per:
            case "image":
                return value / self.trained
            case "batch":
                return value / updates
        return value

    def state_dict(self) -> dict[str, Any]:
        """Return plain values, the totals beside the others."""
        state: dict[str, Any] = asdict(self)
        totals: dict[str, Value] = state.pop("totals")
        return state | totals


@dataclass
class Progress:
    """How far a training has come.

    ``step``: updates made. ``epoch``: epochs completed. ``sums.batches``: how many batches of the
    epoch in progress are done. ``best_score``: best holdout accuracy at the end of an epoch.
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
        """Return plain values, for a checkpoint."""
        return asdict(self) | {"sums": self.sums.state_dict()}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> "Progress":
        """Read what ``state_dict`` returned, or that of an older version.

        A total that an older version did not keep is unknown for the epoch in progress; one that
        knew no skipped batches trained on all images. Raises
        ValueError, KeyError or TypeError where a value is not of the type that belongs there.
        """
        sums = {"skipped": 0, "trained": state["sums"]["images"], **state["sums"]}
        unknown = None if sums["batches"] else 0
        totals = {total.key: sums.pop(total.key, unknown) for total in TOTALS}
        totals |= {t.key: sums.pop(t.key) for t in PENALTY_TOTALS if t.key in sums}
        checked = TypeAdapter(cls).validate_python({**state, "sums": {**sums, "totals": totals}})
        assert isinstance(checked, cls)
        return checked
