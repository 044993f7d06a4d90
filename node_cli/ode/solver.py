"""What a solver is: a method, and the options that it reads. Free of torch."""

from dataclasses import asdict, dataclass
from typing import Literal

from node_cli.ode.tableaus import TABLEAUS

Kind = Literal["adaptive", "fixed", "explicit_adams", "implicit_adams", "scipy"]

STEPS = frozenset({"step_size", "n_steps"})
TOLERANCES = frozenset({"rtol", "atol"})

OPTIONS_OF_KIND: dict[Kind, frozenset[str]] = {
    "adaptive": TOLERANCES | {"first_step", "max_steps"},
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
        return OPTIONS_OF_KIND[self.kind]


METHODS: dict[str, Method] = {
    **{name: Method(tableau.order, "adaptive") for name, tableau in TABLEAUS.items()},
    "dopri5": Method(5, "adaptive"),
    "dopri8": Method(8, "adaptive"),
    "bosh3": Method(3, "adaptive"),
    "fehlberg2": Method(2, "adaptive"),
    "adaptive_heun": Method(2, "adaptive"),
    "euler": Method(1, "fixed"),
    "midpoint": Method(2, "fixed"),
    "heun2": Method(2, "fixed"),
    "heun3": Method(3, "fixed"),
    "rk4": Method(4, "fixed"),
    "explicit_adams": Method(None, "explicit_adams"),
    "implicit_adams": Method(None, "implicit_adams"),
    "fixed_adams": Method(None, "implicit_adams"),
    "scipy": Method(None, "scipy"),
}

SCIPY_METHODS = ("RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA")


@dataclass(frozen=True)
class Solver:
    """A method and the options that it reads; the others stay None.

    ``rtol``/``atol`` bound the local error of a step in the RMS norm over the whole batch.
    ``step_size`` is a maximum: every interval between two requested times is cut into
    ``ceil(length / step_size)`` equal steps; ``n_steps`` gives that number per interval instead.
    ``first_step`` replaces the initial-step heuristic (one evaluation of f less). ``max_steps``
    bounds accepted plus rejected steps of one solve. Time is in the units of the ODE.
    """

    name: str
    rtol: float | None = None
    atol: float | None = None
    step_size: float | None = None
    n_steps: int | None = None
    first_step: float | None = None
    max_steps: int | None = None
    max_order: int | None = None
    scipy_method: str | None = None

    @property
    def method(self) -> Method:
        return METHODS[self.name]

    def __str__(self) -> str:
        options = [
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in asdict(self).items()
            if key != "name" and value is not None
        ]
        return " ".join([self.name, *options])
