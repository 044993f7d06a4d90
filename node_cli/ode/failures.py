"""A solve that could not be finished, or not begun, and why."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from node_cli.ode.solver import Solver

LOOSEN = "Loosen the tolerances"
STABILISE = "In training, lower the learning rate or clip the gradient."
SMALLER_STEPS = f"Take smaller steps. {STABILISE}"


class Unsuitable(ValueError):
    """f, or another part of a model, is none that can be solved with, or compiled."""


class NoDerivative(Unsuitable, TypeError):
    """What f returns is no dy/dt."""


class SolveFailed(RuntimeError):
    """The solver gave up at time ``t``; the message says where, how and what to try.

    Attributes: ``reason``; ``t`` and ``dt`` (units of the ODE's time); ``y_norm`` and ``f_norm``
    (RMS over the whole state, None where the solver does not tell); ``accepted`` and ``rejected``
    steps so far (None likewise); ``solver`` with its tolerances; ``backward``: whether it was the
    backward solve, and ``state``: of what the norms then are.
    """

    def __init__(
        self,
        reason: str,
        *,
        solver: Solver,
        advice: str,
        t: float,
        dt: float | None = None,
        y_norm: float | None = None,
        f_norm: float | None = None,
        accepted: int | None = None,
        rejected: int | None = None,
        backward: bool = False,
        state: str = "y",
    ) -> None:
        self.reason = reason
        self.solver = solver
        self.t = t
        self.dt = dt
        self.y_norm = y_norm
        self.f_norm = f_norm
        self.accepted = accepted
        self.rejected = rejected
        self.backward = backward
        self.state = state
        facts = {
            "t": t,
            "dt": dt,
            f"|{state}|": y_norm,
            "|its derivative|" if backward else "|f|": f_norm,
            "accepted": accepted,
            "rejected": rejected,
        }
        where = ", ".join(
            f"{name}={value:.6g}" for name, value in facts.items() if value is not None
        )
        what = f"backward solve: {reason}" if backward else reason
        super().__init__(f"{what} at {where} ({solver}). {advice}")

    def __reduce__(self) -> tuple[Any, ...]:
        """To be handed to another process."""
        return _again, (self.args, vars(self))

    def of_backward_solve(self, state: str) -> "SolveFailed":
        """This failure as one of the backward solve; ``state``: what is solved there."""
        return SolveFailed(
            self.reason,
            solver=self.solver,
            advice="Take another sensitivity.solver or other tolerances, or, but for scipy, "
            "sensitivity=discrete.",
            t=self.t,
            dt=self.dt,
            y_norm=self.y_norm,
            f_norm=self.f_norm,
            accepted=self.accepted,
            rejected=self.rejected,
            backward=True,
            state=state,
        )


def _again(args: tuple[str], attributes: dict[str, Any]) -> SolveFailed:
    error = SolveFailed.__new__(SolveFailed)
    error.args = args
    vars(error).update(attributes)
    return error


@contextmanager
def told_of_backward_solve(state: str) -> Iterator[None]:
    """A ``SolveFailed`` inside says that it is of a backward solve, and of which ``state``."""
    try:
        yield
    except SolveFailed as error:
        raise error.of_backward_solve(state) from error
