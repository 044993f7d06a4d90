"""A solve that could not be finished, and why."""

from node_cli.ode.solver import Solver


class SolveFailed(RuntimeError):
    """The solver gave up at time ``t``; the message says where, how and what to try.

    Attributes: ``reason``; ``t`` and ``dt`` (units of the ODE's time); ``y_norm`` and ``f_norm``
    (RMS over the batch, None where the solver does not tell); ``accepted`` and ``rejected`` steps
    so far (None likewise); ``solver`` with its tolerances.
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
    ) -> None:
        self.reason = reason
        self.solver = solver
        self.t = t
        self.dt = dt
        self.y_norm = y_norm
        self.f_norm = f_norm
        self.accepted = accepted
        self.rejected = rejected
        facts = {
            "t": t,
            "dt": dt,
            "|y|": y_norm,
            "|f|": f_norm,
            "accepted": accepted,
            "rejected": rejected,
        }
        where = ", ".join(
            f"{name}={value:.6g}" for name, value in facts.items() if value is not None
        )
        super().__init__(f"{reason} at {where} ({solver}). {advice}")
