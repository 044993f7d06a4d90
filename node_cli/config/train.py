"""The keys of ``train``: labels, checkpoints within an epoch, solves that fail, and what ends a
training before its last epoch."""

from collections.abc import Collection, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from node_cli.config.section import Section, Variants, drop_unused
from node_cli.config.tasks import TASKS
from node_cli.config.tree import Tree, get, show
from node_cli.data.catalog import TRAJECTORIES

STOP_RULES = ("target", "stop_early", "max_seconds")


class TrainSection(Section):
    """``accumulate``: the groups that the images of a step are taken in, one after the other.

    ``label_smoothing``: the part of each label that is spread over all classes (Szegedy et al.,
    CVPR 2016). ``ema``: the decay of a moving average of the weights. ``checkpoint_every``: a
    checkpoint after so many steps, beside those of the epochs' ends.

    ``stop_early``: epochs without a holdout accuracy that is better by more than ``min_delta``.
    ``target``: a holdout accuracy. ``max_seconds``: of training and evaluation.
    """

    accumulate: PositiveInt
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    checkpoint_every: PositiveInt | None = None
    stop_early: PositiveInt | None = None
    min_delta: Annotated[float, Field(ge=0, lt=1)] | None = None
    target: Annotated[float, Field(gt=0, le=1)] | None = None
    max_seconds: PositiveFloat | None = None

    def reason_to_stop(self, accuracies: Sequence[float], seconds: float) -> str:
        """Why no further epoch is to begin, the rule first; empty where one is.

        ``accuracies``: those on the holdout after each epoch so far, none without a holdout.
        ``seconds``: what these epochs have taken, evaluation included.
        """
        best, at = 0.0, 0
        for epoch, accuracy in enumerate(accuracies, start=1):
            if self.target is not None and accuracy >= self.target:
                return f"train.target={self.target:g}: holdout accuracy {accuracy:.2%}"
            if at == 0 or accuracy > best + (self.min_delta or 0):
                best, at = accuracy, epoch
        if self.stop_early is not None and len(accuracies) - at >= self.stop_early:
            by = f" by more than {self.min_delta:g}" if self.min_delta else ""
            return (
                f"train.stop_early={self.stop_early}: holdout accuracy not better{by} than "
                f"{best:.2%}, that of epoch {at}"
            )
        if self.max_seconds is not None and seconds >= self.max_seconds:
            return f"train.max_seconds={self.max_seconds:g}: {seconds:.1f} s taken"
        return ""


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


def unused_min_delta(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    """What counts as better, where nothing waits for it."""
    if get(tree, "train.min_delta") is None or get(tree, "train.stop_early") is not None:
        return {}
    takes = [key for key in TrainSection.takes() if key != "min_delta"]
    by = "train.stop_early=null"
    return drop_unused(tree, typed, "train", ["min_delta"], by=by, takes=takes, spare=["min_delta"])


def impossible(tree: Tree) -> list[str]:
    """Groups of unequal size; a rule that looks at a holdout where there is none; a test split that
    is left to the last epoch where it is not known which that is."""
    task = get(tree, "task")
    if not isinstance(task, str) or task not in TASKS or not TASKS[task].trains:
        return []
    size, groups = get(tree, "batch_size"), get(tree, "train.accumulate")
    if isinstance(size, int) and isinstance(groups, int) and groups > 0 and size % groups:
        return [f"train.accumulate={groups}: must divide batch_size={size}"]
    rules = [f"train.{rule}" for rule in STOP_RULES if get(tree, f"train.{rule}") is not None]
    lines = []
    for key in rules:
        if key != "train.max_seconds" and get(tree, "data.name") in [*TRAJECTORIES]:
            lines.append(f"{show(tree, key)}: not with {show(tree, 'data')}, which has no holdout")
        elif key != "train.max_seconds" and get(tree, "data.holdout") == 0:
            lines.append(
                f"{show(tree, key)}: needs a holdout, but data.holdout=0; give data.holdout=0.1"
            )
        if get(tree, "eval.test") == "end":
            lines.append(
                f"{show(tree, key)}: not with eval.test=end, since which epoch is the last shows "
                "only after its evaluation; take eval.test=always"
            )
    return lines
