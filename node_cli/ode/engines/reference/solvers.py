"""torchdiffeq's solver classes, made to land on requested times and to explain their failures.

The only file that imports torchdiffeq. As released, torchdiffeq overshoots a requested time and
interpolates back, differentiates its initial step size, and reports failures as bare asserts. Its
solver classes are private, hence the exact pin of its version in pyproject.toml.
"""

import warnings
from collections.abc import Callable, Mapping
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
from torchdiffeq._impl.solvers import FixedGridODESolver

from node_cli.ode.engines.step_control import probing_size
from node_cli.ode.failures import LOOSEN, STABILISE, SolveFailed
from node_cli.ode.field import Field
from node_cli.ode.norms import rms_norm
from node_cli.ode.solver import Solver
from node_cli.ode.tableau import Tableau
from node_cli.ode.tableaus import TABLEAUS
from node_cli.ode.work import Steps


def solution_of(
    field: Field, y0: Tensor, t: Tensor, solver: Solver, options: Mapping[str, Any]
) -> Tensor:
    """y at the requested times ``t`` (T,), ``(T, *y0.shape)``, by the class of this solver.

    ``options``: of its constructor. Raises what torchdiffeq raises, and ``SolveFailed``.
    """
    rtol, atol = solver.rtol or 0.0, solver.atol or 0.0
    # Makes time increase, and wraps f accordingly.
    _, func, y0, times, rtol, atol, _, options, _, _ = _check_inputs(
        field, y0, t, rtol, atol, solver.name, dict(options), None, _CLASSES
    )
    instance = _CLASSES[solver.name](func=func, y0=y0, rtol=rtol, atol=atol, **options)
    integrate: Callable[[Tensor], Tensor] = instance.integrate
    return integrate(times)


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
                if not (first_step.isfinite() and first_step > 0):
                    scale = self.atol + self.y0.abs() * self.rtol
                    norms = self.norm(self.y0 / scale), self.norm(f0 / scale)
                    first_step = probing_size(*norms).to(self.dtype)
        self.rk_state = _RungeKuttaState(self.y0, f0, t[0], t[0], first_step, None)
        self.jump_t = t[:0]
        self.spoilt = False  # whether something was not finite in the last attempt

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
        # As torchdiffeq's own solvers do not, take a smaller step then.
        finite = after.y1.isfinite().all() & after.f1.isfinite().all() & after.dt.isfinite()
        self.spoilt = not finite
        if self.spoilt:
            self.steps.rejected += 1
            if not (state.y1.isfinite().all() and state.f1.isfinite().all()):
                raise self._explained(state)
            tried = torch.minimum(state.dt, self.step_t[0] - state.t1)
            return state._replace(dt=tried * self.dfactor)
        if after.t1 > state.t1:
            self.steps.accepted += 1
        else:
            self.steps.rejected += 1
        return after

    def _interp_fit(self, *_: Any) -> None:
        """Skipped, since no time is interpolated to."""

    def _explained(self, state: Any) -> SolveFailed:
        if not state.y1.isfinite().all():
            reason = "the state is not finite where a step begins"
            advice = STABILISE
        elif not state.f1.isfinite().all():
            reason = "f is not finite where a step begins"
            advice = STABILISE
        elif self.spoilt or not state.dt.isfinite():
            reason = "f, or the estimate of the error, is not finite within a step, however small"
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


def _adaptive_class(tableau: Tableau) -> type[RKAdaptiveStepsizeODESolver]:
    """A torchdiffeq solver class of an embedded pair."""
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
    return type("_AdaptiveOfTableau", (RKAdaptiveStepsizeODESolver,), attributes)


def _fixed_class(tableau: Tableau) -> type[FixedGridODESolver]:
    """A torchdiffeq solver class of a method without error estimate."""

    def step(
        _self: object, func: Field, t0: Tensor, dt: Tensor, _t1: Tensor, y0: Tensor
    ) -> tuple[Tensor, Tensor]:
        slopes: list[Tensor] = []
        for c, a in zip(tableau.c, tableau.a, strict=True):
            moved = sum((w * k for w, k in zip(a, slopes, strict=True)), torch.zeros_like(y0))
            slopes.append(func(t0 + c * dt, y0 + dt * moved))
        moved = sum((w * k for w, k in zip(tableau.b, slopes, strict=True)), torch.zeros_like(y0))
        return dt * moved, slopes[0]

    return type(
        "_FixedOfTableau", (FixedGridODESolver,), {"order": tableau.order, "_step_func": step}
    )


class _Scipy(ScipyWrapperODESolver):  # type: ignore[misc]
    """scipy's solvers, which may stop before the end of the interval without raising."""

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
            except (
                ValueError,
                ArithmeticError,
            ) as error:  # not finite, or a singular matrix
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
    """The class with the steps of ``base`` and the way of ``_Landing`` to use them."""
    return type(f"Landing{base.__name__}", (_Landing, base), {})


def _classes() -> dict[str, Any]:
    """torchdiffeq's own, and from our tableaus those that it does not have."""
    classes = {**SOLVERS, "scipy": _Scipy}
    for name, tableau in TABLEAUS.items():
        if name not in classes:
            classes[name] = _adaptive_class(tableau) if tableau.adaptive else _fixed_class(tableau)
    return {
        name: _landing(base) if issubclass(base, RKAdaptiveStepsizeODESolver) else base
        for name, base in classes.items()
    }


_CLASSES = _classes()
