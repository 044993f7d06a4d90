"""What a regulariser is: one of five kinds, by what it sees of a solve.

A new one is a class that derives from one of them, and a row in ``table.py``, or an entry point of
an installed package. Each is made once for a training, with its options by name; its weight is not
one of them. What it draws comes from the generator that it is given, which is a function of the
seed and the training step.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from node_cli.ode.field import Field
from node_cli.ode.penalties import StepPenalty
from node_cli.ode.solver import Solver

Integrand = Callable[[Field, Tensor, Tensor, Tensor], Tensor]
"""(f, t, y, f(t, y)) -> a 0-dim tensor, which torch can differentiate."""


class Regulariser:
    """``estimate``: what it reads of a step of the solver, which not every method has."""

    estimate: ClassVar[Literal["error", "stiffness"] | None] = None


class OfInterval(Regulariser, ABC):
    """Changes the times at which y is asked for; adds no penalty."""

    @abstractmethod
    def times(self, t: Tensor, generator: torch.Generator) -> Tensor:
        """The times to solve for in place of ``t``; both (T,), float64, on the CPU."""


class OfSteps(Regulariser, ABC):
    """A number of each step that the solver accepts."""

    @abstractmethod
    def penalty(self, generator: torch.Generator) -> StepPenalty:
        """What is measured of the steps of one solve."""


class OfPath(Regulariser, ABC):
    """An integral over t along the solution.

    It is solved with y, as one more coordinate, so that it is exact to the tolerance, works with
    every gradient method, and takes part in the control of the step size.

    ``further``: evaluations of f and of its derivatives that the integrand makes.
    """

    further = 0

    @abstractmethod
    def integrand(self, y: Tensor, generator: torch.Generator) -> Integrand:
        """What is integrated in one solve from ``y``, [N, *state]."""


class OfMoment(Regulariser, ABC):
    """A number of f and y at a time that is drawn from the whole interval, at which the solver
    lands."""

    @abstractmethod
    def measure(self, f: Field, solver: Solver, t: float, y: Tensor, end: float) -> Tensor:
        """A 0-dim tensor, which torch can differentiate; y: [N, *state], at ``t``."""


class OfField(Regulariser, ABC):
    """A number of f alone."""

    @abstractmethod
    def measure(self, field: nn.Module) -> Tensor:
        """A 0-dim tensor, which torch can differentiate."""
