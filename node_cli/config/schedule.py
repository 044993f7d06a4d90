"""The schedules of the learning rate: the options of each, and the rate they give.

Each is a function of the epoch, so that a checkpoint has nothing of it to keep. To add one: a class
here, its place in ``ScheduleConfig``, a file in ``conf/schedule``.
"""

import math
from bisect import bisect_right
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, PositiveInt

from node_cli.config.section import Section, Variants


def _increasing(values: list[int]) -> list[int]:
    if values != sorted(set(values)):
        raise ValueError("must increase")
    return values


class Schedule(Section):
    name: str

    def learning_rate(self, lr: float, epoch: int, epochs: int) -> float:
        """The learning rate of an epoch.

        ``lr``: of the optimizer's configuration. ``epoch``: counted from 0, of ``epochs``.
        """
        raise NotImplementedError


class Constant(Schedule):
    """The same in all epochs."""

    chosen_by: ClassVar = {"name": ["constant"]}

    def learning_rate(self, lr: float, epoch: int, epochs: int) -> float:
        return lr


class Step(Schedule):
    """Multiplied by ``gamma`` after each of the epochs ``milestones``."""

    chosen_by: ClassVar = {"name": ["step"]}
    milestones: Annotated[list[PositiveInt], AfterValidator(_increasing)]
    gamma: Annotated[float, Field(gt=0, le=1)]

    def learning_rate(self, lr: float, epoch: int, epochs: int) -> float:
        return lr * self.gamma ** bisect_right(self.milestones, epoch)


class Cosine(Schedule):
    """From lr towards 0 along half a cosine (Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5,
    without restarts)."""

    chosen_by: ClassVar = {"name": ["cosine"]}

    def learning_rate(self, lr: float, epoch: int, epochs: int) -> float:
        return lr * (1 + math.cos(math.pi * epoch / epochs)) / 2


ScheduleConfig = Annotated[Constant | Step | Cosine, Variants()]
