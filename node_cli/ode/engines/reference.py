"""Every solver of torchdiffeq, made to land on the requested times. The only file that imports it.

torchdiffeq overshoots a requested time and interpolates back, differentiates its initial step
size, and reports failures as bare asserts: not here. Its solver classes are private, hence the
exact pin of its version in pyproject.toml.
"""

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torchdiffeq._impl.misc import _check_inputs, _select_initial_step
from torchdiffeq._impl.odeint import SOLVERS
from torchdiffeq._impl.rk_common import (
    RKAdaptiveStepsizeODESolver,
    _ButcherTableau,
    _RungeKuttaState,
)
from torchdiffeq._impl.scipy_wrapper import ScipyWrapperODESolver

from node_cli.ode.failures import LOOSEN, SMALLER_STEPS, STABILISE, SolveFailed
from node_cli.ode.norms import Norm, rms_norm
from node_cli.ode.solver import Solver, WarmStart, check_times
from node_cli.ode.tableau import Tableau
from node_cli.ode.tableaus import TSIT5
from node_cli.ode.work import Field, Steps


def integrate(
    field: Field, y0: Tensor, t: Tensor, solver: Solver, norm: Norm = rms_norm
) -> tuple[Tensor, Steps]:
    """Solve dy/dt = f(t, y) from y0 at t[0]; return y at every requested time, and the steps.

    ``y0``: any shape. ``t``: (T,), strictly increasing or decreasing, T >= 2; every one of these
    times is landed on. ``norm`` is read by adaptive Runge-Kutta methods only. Returns
    ``(T, *y0.shape)``, differentiable by autograd with every step size a constant; a ``scipy``
    solution carries no gradient.

    Raises ``SolveFailed`` where a step size underflows, the state or f stops being finite, or
    ``max_steps`` or ``max_nfe`` of the solver is reached.
    """
    assert not isinstance(solver.first_step, WarmStart)
    assert solver.controller != "pi"
    check_times(t.tolist())
    steps = Steps()
    limited = _Limited(field, solver, steps)
    t = t.to(y0.device, torch.float32 if y0.device.type == "mps" else t.dtype)  # has no float64
    ys = [y0]
    for segment in _segments(t, solver):
        ys.extend(_solve(limited, ys[-1], segment, solver, norm, steps).unbind()[1:])
    return torch.stack(ys), steps


class _Limited:
    """f, until ``max_nfe`` evaluations."""

    def __init__(self, field: Field, solver: Solver, steps: Steps) -> None:
        self.field, self.solver, self.steps = field, solver, steps
        self.nfe = 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        if self.nfe == self.solver.max_nfe:
            raise SolveFailed(
                f"{self.nfe} evaluations of f were not enough",
                solver=self.solver,
                advice=f"{LOOSEN}, or raise max_nfe.",
                t=float(t),
                y_norm=float(rms_norm(y.detach())),
                **vars(self.steps),
            )
        self.nfe += 1
        return self.field(t, y)


def _segments(t: Tensor, solver: Solver) -> list[Tensor]:
    """The pieces of t that torchdiffeq solves in one go without leaving a requested time out.

    Adams methods start afresh in each interval, since their coefficients need equal steps; scipy
    would interpolate to the times within.
    """
    if solver.method.kind in ("adaptive", "fixed"):
        return [t]
    return [t[i : i + 2] for i in range(len(t) - 1)]


def _solve(field: Field, y0: Tensor, t: Tensor, solver: Solver, norm: Norm, steps: Steps) -> Tensor:
    options: dict[str, Any]
    match solver.method.kind:
        case "adaptive":
            options = {"norm": norm, "first_step": solver.first_step}
            options |= {"settings": solver, "steps": steps, "forwards": bool(t[0] < t[1])}
            if y0.device.type == "mps":  # has no float64
                options["dtype"] = torch.float32
        case "scipy":
            options = {"settings": solver, "start": float(t[0]), "solver": solver.scipy_method}
            steps.accepted = steps.rejected = None
        case _:
            options = {"grid_constructor": lambda _f, _y0, times: _grid(times, solver, steps)}
            if solver.max_order is not None:
                options["max_order"] = solver.max_order
    # Makes time increase, and wraps f accordingly.
    _, func, y0, times, rtol, atol, _, options, _, _ = _check_inputs(
        field, y0, t, solver.rtol or 0.0, solver.atol or 0.0, solver.name, options, None, _CLASSES
    )
    instance = _CLASSES[solver.name](func=func, y0=y0, rtol=rtol, atol=atol, **options)
    solution = _integrated(instance, times, t, solver)
    if solver.method.kind != "adaptive":  # which looks at every step
        _check_finite(solution, t, solver, steps)
    return solution


def _integrated(instance: Any, times: Tensor, t: Tensor, solver: Solver) -> Tensor:
    integrate: Callable[[Tensor], Tensor] = instance.integrate
    if solver.method.kind != "implicit_adams":
        return integrate(times)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Functional iteration did not converge")
            return integrate(times)
    except UserWarning as error:  # torchdiffeq would carry on with what it has
        raise SolveFailed(
            "the corrector did not converge within a step",
            solver=solver,
            advice=f"Take smaller steps, or loosen the tolerances. {STABILISE}",
            t=float(t[0]),
        ) from error


def _check_finite(solution: Tensor, t: Tensor, solver: Solver, steps: Steps) -> None:
    finite = solution.isfinite().flatten(1).all(1)
    if not finite.all():
        raise SolveFailed(
            "the state is not finite",
            solver=solver,
            advice=SMALLER_STEPS,
            t=float(t[int(finite.long().argmin())]),
            **vars(steps),
        )


def _grid(t: Tensor, solver: Solver, steps: Steps) -> Tensor:
    """Times of a fixed-step solve: each interval of t cut into equal steps, its ends exact."""
    pieces = []
    for start, end in pairwise(t):
        n = solver.steps_in(float((end - start).detach()))
        fractions = torch.arange(n, dtype=t.dtype, device=t.device) / n
        pieces.append(start + (end - start) * fractions)
    pieces.append(t[-1:])
    grid = torch.cat(pieces)
    assert steps.accepted is not None
    steps.accepted += len(grid) - 1
    return grid


class _Landing(RKAdaptiveStepsizeODESolver):  # type: ignore[misc]
    """An adaptive method that lands on each requested time and explains its failures."""

    def __init__(self, *, settings: Solver, steps: Steps, forwards: bool, **options: Any) -> None:
        super().__init__(**options)
        self.settings = settings
        self.steps = steps
        self.sign = 1.0 if forwards else -1.0

    def _before_integrate(self, t: Tensor) -> None:
        f0 = self.func(t[0], self.y0)
        first_step = self.first_step
        if first_step is None:
            with torch.no_grad():
                first_step = _select_initial_step(
                    self.func, t[0], self.y0, self.order - 1, self.rtol, self.atol, self.norm, f0=f0
                )
        self.rk_state = _RungeKuttaState(self.y0, f0, t[0], t[0], first_step, None)
        self.jump_t = t[:0]

    def integrate(self, t: Tensor) -> Tensor:
        t = t.to(self.dtype)
        self._before_integrate(t)
        ys = [self.y0]
        for end in t[1:]:
            # One landing time at a time: torchdiffeq's own list of them stops working after a
            # step that hits one of them exactly.
            self.step_t = end[None]
            self.next_step_index = 0
            while self.rk_state.t1 < end:
                self.rk_state = self._adaptive_step(self.rk_state)
            ys.append(self.rk_state.y1)
        return torch.stack(ys)

    def _adaptive_step(self, state: Any) -> Any:
        assert self.steps.accepted is not None and self.steps.rejected is not None
        if self.steps.accepted + self.steps.rejected == self.settings.max_steps:
            raise self._failure(
                state,
                f"{self.settings.max_steps} steps were not enough",
                f"{LOOSEN}, or raise max_steps.",
            )
        try:
            after = super()._adaptive_step(state)
        except AssertionError as error:
            raise self._explained(state) from error
        if after.t1 > state.t1:
            self.steps.accepted += 1
        else:
            self.steps.rejected += 1
        return after

    def _interp_fit(self, *_: Any) -> None:
        """Nothing interpolates here."""

    def _explained(self, state: Any) -> SolveFailed:
        if not state.y1.isfinite().all():
            reason = "the state is not finite"
            advice = STABILISE
        elif not state.dt.isfinite():
            reason = "f, or the estimate of the error, is not finite within a step"
            advice = f"{LOOSEN}. {STABILISE}"
        else:
            reason = "the step size underflows"
            advice = f"{LOOSEN}, or compute in a higher precision."
        return self._failure(state, reason, advice)

    def _failure(self, state: Any, reason: str, advice: str) -> SolveFailed:
        return SolveFailed(
            reason,
            solver=self.settings,
            advice=advice,
            t=self.sign * float(state.t1),
            dt=self.sign * float(state.dt),
            y_norm=float(rms_norm(state.y1.detach())),
            f_norm=float(rms_norm(state.f1.detach())),
            **vars(self.steps),
        )


def _tableau_solver(tableau: Tableau) -> type[RKAdaptiveStepsizeODESolver]:
    """A torchdiffeq solver class from one of our own tableaux."""

    assert tableau.b_error is not None

    def row(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    attributes = {
        "order": tableau.order,
        "tableau": _ButcherTableau(
            alpha=row(tableau.c[1:]),
            beta=[row(a) for a in tableau.a[1:]],
            c_sol=row(tableau.b),
            c_error=row(tableau.b_error),
        ),
        "mid": row(()),  # read by the interpolation alone
    }
    return type("_TableauSolver", (RKAdaptiveStepsizeODESolver,), attributes)


class _Scipy(ScipyWrapperODESolver):  # type: ignore[misc]
    """scipy's solvers, which give up without a word."""

    def __init__(self, *, settings: Solver, start: float, **options: Any) -> None:
        super().__init__(**options)
        self.settings = settings
        self.start = start

    def integrate(self, t: Tensor) -> Tensor:
        method = f"scipy's {self.settings.scipy_method}"
        with warnings.catch_warnings():
            # torchdiffeq passes min_step to every method; all but LSODA warn.
            warnings.filterwarnings("ignore", message=".*min_step")
            try:
                solution: Tensor = super().integrate(t)
            except (ValueError, ArithmeticError) as error:  # not finite, or not to be inverted
                raise self._failure(f"{method} gave up ({error})") from error
        if len(solution) < len(t):
            raise self._failure(f"{method} stopped before the end of the interval")
        return solution

    def _failure(self, reason: str) -> SolveFailed:
        return SolveFailed(
            reason,
            solver=self.settings,
            t=self.start,
            advice=f"{LOOSEN}, or take another scipy_method.",
        )


def _landing(base: type[RKAdaptiveStepsizeODESolver]) -> type[RKAdaptiveStepsizeODESolver]:
    return type(f"Landing{base.__name__}", (_Landing, base), {})


_CLASSES: dict[str, Any] = {
    "tsit5": _landing(_tableau_solver(TSIT5)),
    "scipy": _Scipy,
    **{
        name: _landing(base) if issubclass(base, RKAdaptiveStepsizeODESolver) else base
        for name, base in SOLVERS.items()
    },
}
