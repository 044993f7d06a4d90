"""What a measured number is: its name, unit and meaning, and how steps make one of an epoch.

Nothing here imports torch, so that reports start at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from node_cli.records.units import Unit, Value


@dataclass(frozen=True)
class Total:
    """How the steps of an epoch make one number. Batches that were skipped do not count.

    ``key``: the name of the running total in checkpoints; never changed, so that older checkpoints
    load. ``of``: what is added up, numbers of a step. ``how``: ``sum`` adds values, ``image sum``
    adds each value times the images of its batch, ``largest`` keeps the largest value. ``per``:
    what the total is divided by in the end.
    """

    key: str
    of: tuple[str, ...]
    how: Literal["sum", "image sum", "largest"]
    per: Literal["image", "batch"] | None

    def add(self, total: Value, step: Mapping[str, Value], images: int) -> Value:
        """Return ``total`` with one more step; None once any step lacks one of the numbers."""
        value: float = 0
        for name in self.of:
            if (part := step[name]) is None:
                return None
            value += part
        if total is None:
            return None
        if self.how == "largest":
            return max(total, value)
        return total + (value * images if self.how == "image sum" else value)


def mean(*names: str, key: str | None = None) -> Total:
    """The mean over batches of a number, or of the sum of several."""
    return Total(key or names[0], names, "sum", "batch")


def of_images(name: str) -> Total:
    """The mean over images of a number that is a mean over those of a batch."""
    return Total(name, (name,), "image sum", "image")


def largest(name: str) -> Total:
    """The largest value of any batch."""
    return Total(f"{name}_max", (name,), "largest", None)


@dataclass(frozen=True)
class Measure:
    """A column of a record.

    ``work``: the attribute of ``ode.work.Work`` that it is read from, if it counts work of a solve.
    ``total``: how it follows from the steps of an epoch, if it does.
    """

    name: str
    unit: Unit
    meaning: str
    work: str = ""
    total: Total | None = None
