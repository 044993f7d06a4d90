"""What a solver is: a method, and the options that it reads. Free of torch."""

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from node_cli.ode.tableau import Tableau
from node_cli.ode.tableaus import TABLEAUS

Kind = Literal["adaptive", "fixed", "explicit_adams", "implicit_adams", "scipy"]

Engine = Literal["native", "torchdiffeq"]

Keep = Literal["nothing", "stages", "states", "trajectory"]
"""What a solve keeps of its accepted steps beside y at the requested times: nothing; what the
derivative of each stage needs; the states where steps begin; or y(t) at any time."""

Controller = Literal["integral", "pi"]
"""The names of ``step_control.CONTROLLERS``."""

DEFAULT_CONTROLLER: Controller = "integral"

STEPS = frozenset({"step_size", "n_steps"})
TOLERANCES = frozenset({"rtol", "atol"})

OPTIONS_OF_KIND: dict[Kind, frozenset[str]] = {
    "adaptive": TOLERANCES | {"first_step", "max_steps", "controller"},
    "fixed": STEPS,
    "explicit_adams": STEPS | {"max_order"},
    # The corrector of a predictor-corrector pair iterates until it meets the tolerances.
    "implicit_adams": STEPS | TOLERANCES | {"max_order"},
    "scipy": TOLERANCES | {"scipy_method"},
}


@dataclass(frozen=True)
class Method:
    """A numerical method: its order of convergence (None where it varies) and its kind."""

    order: int | None
    kind: Kind

    @property
    def options(self) -> frozenset[str]:
        """Names of the ``Solver`` fields that this method reads."""
        return OPTIONS_OF_KIND[self.kind] | {"engine", "max_nfe", "jump_t"}

    @property
    def engines(self) -> tuple[Engine, ...]:
        """The engines that have this method."""
        native = self.kind in ("adaptive", "fixed")
        return ("native", "torchdiffeq") if native else ("torchdiffeq",)


METHODS: dict[str, Method] = {
    **{
        name: Method(tableau.order, "adaptive" if tableau.adaptive else "fixed")
        for name, tableau in TABLEAUS.items()
    },
    "explicit_adams": Method(None, "explicit_adams"),
    "implicit_adams": Method(None, "implicit_adams"),
    "fixed_adams": Method(None, "implicit_adams"),
    "scipy": Method(None, "scipy"),
}

SCIPY_METHODS = ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")

# A step may exceed step_size by this relative amount, so that rounding in (t1 - t0) / step_size
# never costs a whole extra step.
GRID_SLACK = 1e-6


def check_times(times: list[float]) -> None:
    """Raises ``ValueError`` unless they are two at least, strictly increasing or decreasing."""
    signs = {(end > start) - (end < start) for start, end in pairwise(times)}
    if signs not in ({1}, {-1}):
        reason = "t must be strictly increasing or decreasing, two times at least"
        raise ValueError(f"{reason}: {times}")


@dataclass
class StepMemory:
    """The size of the first step of one kind of solve, remembered from solve to solve.

    A solve whose solver has ``first_step="warm"`` begins with ``size``, or with the initial-step
    heuristic where that is None, and leaves here the size that it proposes after its first accepted
    step. To use a size without learning from the solve, hand it a copy.
    """

    size: float | None = None


@dataclass
class FirstSteps:
    """The memories of the forward and the backward solve of one ODE block."""

    forward: StepMemory = field(default_factory=StepMemory)
    backward: StepMemory = field(default_factory=StepMemory)

    def copy(self) -> "FirstSteps":
        """Memories that start with the same sizes and learn on their own."""
        return FirstSteps(replace(self.forward), replace(self.backward))


@dataclass(frozen=True)
class Solver:
    """A method and the options that it reads; the others stay None.

    ``rtol``/``atol`` bound the local error of a step in the RMS norm over the whole batch.
    ``step_size`` is a maximum: every interval between two requested times is cut into
    ``ceil(length / step_size)`` equal steps; ``n_steps`` gives that number per interval instead.
    ``first_step`` replaces the initial-step heuristic (one evaluation of f less): a size, or
    ``"warm"``, the size in the ``StepMemory`` that a solve is given. ``max_steps`` bounds accepted
    plus rejected steps of one solve, ``max_nfe`` its evaluations of f, but for those that dense
    output adds.
    ``controller``: how the next step size follows from the errors, the native engine only; None:
    ``DEFAULT_CONTROLLER``, as in conf/solver. ``jump_t``: times at which f is discontinuous in t:
    the solve ends and begins anew there, its budgets and steps too (``jumps.pieces``). Time is in
    the units of the ODE.
    """

    name: str
    rtol: float | None = None
    atol: float | None = None
    step_size: float | None = None
    n_steps: int | None = None
    first_step: float | Literal["warm"] | None = None
    controller: Controller | None = None
    max_steps: int | None = None
    max_nfe: int | None = None
    max_order: int | None = None
    scipy_method: str | None = None
    jump_t: tuple[float, ...] | None = None
    engine: Engine | None = None

    def __post_init__(self) -> None:
        if self.engine is None:
            object.__setattr__(self, "engine", self.method.engines[0])
        assert self.engine in self.method.engines

    @property
    def method(self) -> Method:
        return METHODS[self.name]

    @property
    def tableau(self) -> Tableau:
        """The tableau of a Runge-Kutta method."""
        return TABLEAUS[self.name]

    def steps_in(self, length: float) -> int:
        """The number of equal steps of a fixed-step method in an interval of this length."""
        if self.n_steps is not None:
            return self.n_steps
        assert self.step_size is not None
        return max(1, math.ceil(abs(length) / self.step_size * (1 - GRID_SLACK)))

    def __str__(self) -> str:
        options = [
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in vars(self).items()
            if key not in ("name", "engine") and value is not None
        ]
        return " ".join([self.name, *options])
