"""The schedules of the learning rate: the options of each, and the rate they give.

Each is a function of the step, so that a checkpoint has nothing of it to keep. To add one: a class
here, its place in ``ScheduleConfig``, a file in ``conf/schedule``.
"""

import math
from bisect import bisect_right
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from node_cli.config.section import Section, Variants


def _increasing(values: list[int]) -> list[int]:
    if values != sorted(set(values)):
        raise ValueError("must increase")
    return values


class Schedule(Section):
    """``warmup_steps``: over so many steps the rate rises in proportion, from 1/N of it to all of
    it (Goyal et al., "Accurate, large minibatch SGD", 2017)."""

    name: str
    warmup_steps: NonNegativeInt

    def learning_rate(self, lr: float, epoch: float, epochs: int) -> float:
        """The learning rate of an epoch, without warm-up.

        ``lr``: of the optimizer's configuration. ``epoch``: counted from 0, of ``epochs``; with a
        fraction where ``changes_within_epochs``.
        """
        raise NotImplementedError

    @property
    def changes_within_epochs(self) -> bool:
        """Whether the rate, without warm-up, is another one in every step."""
        return False

    def of_step(self, lr: float, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The learning rate of a step, counted from 0."""
        epoch = step / steps_per_epoch if self.changes_within_epochs else step // steps_per_epoch
        rate = self.learning_rate(lr, epoch, epochs)
        return rate * (step + 1) / self.warmup_steps if step < self.warmup_steps else rate


class Constant(Schedule):
    """The same in all epochs."""

    chosen_by: ClassVar = {"name": ["constant"]}

    def learning_rate(self, lr: float, epoch: float, epochs: int) -> float:
        return lr


class Step(Schedule):
    """Multiplied by ``gamma`` after each of the epochs ``milestones``."""

    chosen_by: ClassVar = {"name": ["step"]}
    milestones: Annotated[list[PositiveInt], AfterValidator(_increasing)]
    gamma: Annotated[float, Field(gt=0, le=1)]

    def learning_rate(self, lr: float, epoch: float, epochs: int) -> float:
        return lr * self.gamma ** bisect_right(self.milestones, epoch)


class Cosine(Schedule):
    """From lr towards 0 along half a cosine (Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5,
    without restarts). ``per``: what it changes with."""

    chosen_by: ClassVar = {"name": ["cosine"]}
    per: Literal["epoch", "step"]

    @property
    def changes_within_epochs(self) -> bool:
        return self.per == "step"

    def learning_rate(self, lr: float, epoch: float, epochs: int) -> float:
        return lr * (1 + math.cos(math.pi * epoch / epochs)) / 2


ScheduleConfig = Annotated[Constant | Step | Cosine, Variants()]
