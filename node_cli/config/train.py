"""The keys of ``train``: checkpoints within an epoch, and solves that fail."""

from typing import Annotated, ClassVar, Literal

from pydantic import PositiveInt

from node_cli.config.section import Section, Variants


class TrainSection(Section):
    """``checkpoint_every``: a checkpoint after so many steps, beside those of the epochs' ends."""

    checkpoint_every: PositiveInt | None = None


class RaiseFailures(TrainSection):
    """A solve that fails ends the run."""

    chosen_by: ClassVar = {"on_solver_failure": ["raise"]}
    spare: ClassVar = ["max_skipped"]
    on_solver_failure: Literal["raise"]


class SkipFailures(TrainSection):
    """A batch whose solve fails is left out, ``max_skipped`` of them in an epoch."""

    chosen_by: ClassVar = {"on_solver_failure": ["skip"]}
    on_solver_failure: Literal["skip"]
    max_skipped: PositiveInt


TrainConfig = Annotated[RaiseFailures | SkipFailures, Variants()]
