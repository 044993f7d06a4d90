"""Observers that send the rows of a training, as points, to programs that draw curves."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from node_cli.learn.observer import Further, Observer, Row
from node_cli.records.measures import EPOCH, STEP
from node_cli.records.progress import Progress

COUNTED = (STEP.name, EPOCH.name)
"""Columns that say where a point is, and are none themselves."""

Points = Mapping[str, float]
"""Values by name, at one step."""


class OfPoints(Observer):
    """Gets the numbers of each row as points: ``steps/loss``, ``epochs/test_accuracy``,
    ``evaluations/test/loss`` and the like."""

    required: ClassVar[bool] = False

    def add(self, step: int, points: Points) -> None:
        """Send the points of a row."""
        raise NotImplementedError

    def step(self, progress: Progress, row: Row) -> None:
        self._add("steps", row)

    def evaluation(self, rows: Sequence[Row], further: Further) -> None:
        for row in rows:
            self._add(f"evaluations/{row['split']}", row)

    def epoch(self, row: Row) -> None:
        self._add("epochs", row)

    def _add(self, group: str, row: Row) -> None:
        numbers = ((name, value) for name, value in row.items() if name not in COUNTED)
        self.add(row["step"], {f"{group}/{n}": value for n, value in numbers if _is_number(value)})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
