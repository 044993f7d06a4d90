"""Is a trained network the solution of an ODE, or of its solver's steps?

Ott, Katiyar, Hennig and Tiemann, "ResNet after all: neural ODEs and their numerical solution", ICLR
2021: a network that is the flow of an ODE keeps its accuracy under every solver whose numerical
error is as large or smaller. One that was trained with too large steps does not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from node_cli.learn.answers import Answers

LARGEST_FALL = 0.01
"""The accuracy that the solution of an ODE may lose under a finer solver. Networks that were
trained with tolerances of 1e-3 and tighter lose nothing here; see docs/solvers.md."""

CHANCE = 2.0
"""Standard deviations of the number of images by which two equally good networks differ."""


@dataclass(frozen=True)
class Tried:
    """What a network answers under a solver, in words ``solver``. ``error``: the numerical error,
    the RMS difference of its logits from those of the reference."""

    solver: str
    answers: Answers
    error: float


@dataclass(frozen=True)
class Verdict:
    """``of``: what the network is the solution of, its ``steps`` or the ``ode``; ``unknown`` where
    the ODE could not be solved."""

    of: Literal["ode", "steps", "unknown"]
    sentence: str


def rms(difference: Tensor) -> float:
    """The root mean square over all elements."""
    return float(difference.square().mean().sqrt())


def verdict(trained: Tried, tried: Sequence[Tried]) -> Verdict:
    """The verdict on a network, ``trained`` under the solver of its training.

    ``tried``: under all others, the reference among them. It is one of its solver's steps if under
    some finer solver, one with an error that is not larger, it loses more than ``LARGEST_FALL`` of
    its accuracy, and more images than chance explains: by McNemar's test the images that are lost
    less those that are won, over the root of their sum, are above ``CHANCE``.
    """
    finer = [other for other in tried if other.error <= trained.error]
    worst = min(finer, key=lambda other: other.answers.accuracy)
    before, after = trained.answers, worst.answers
    lost = int((before.right & ~after.right).sum())
    won = int((after.right & ~before.right).sum())
    fall = (lost - won) / len(before.right)
    numbers = f"{before.accuracy:.2%} of the images are right under {trained.solver}"
    if fall > LARGEST_FALL and lost - won > CHANCE * math.sqrt(lost + won):
        return Verdict(
            "steps",
            f"the solution of its solver's steps, not of an ODE: {numbers}, as it was trained, and "
            f"{after.accuracy:.2%} under {worst.solver}, whose error is smaller",
        )
    by_chance = f" ({lost - won} images fewer, which chance explains)" * (fall > LARGEST_FALL)
    return Verdict(
        "ode",
        f"the solution of an ODE: {numbers}, as it was trained, and {after.accuracy:.2%} or more "
        f"under every solver whose error is not larger{by_chance}",
    )
