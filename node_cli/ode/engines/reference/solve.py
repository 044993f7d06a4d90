"""Solves by any solver of torchdiffeq, every requested time landed on."""

import warnings
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from node_cli.ode.failures import LOOSEN, SMALLER_STEPS, STABILISE, SolveFailed
from node_cli.ode.field import Field
from node_cli.ode.norms import Norm, rms_norm
from node_cli.ode.solver import Solver, check_times
from node_cli.ode.work import Steps


def integrate(
    field: Field, y0: Tensor, t: Tensor, solver: Solver, norm: Norm = rms_norm
) -> tuple[Tensor, Steps]:
    """Solve dy/dt = f(t, y) from y0 at t[0].

    Args:
        y0: any shape.
        t: (T,), strictly increasing or decreasing, T >= 2.
        norm: read by adaptive Runge-Kutta methods only.

    Returns:
        y at every requested time, ``(T, *y0.shape)``, each of them landed on; and the steps.
        Differentiable by autograd with every step size a constant; the solution of ``scipy``
        carries no gradient.

    Raises:
        SolveFailed: a step size underflows, the state or f stops being finite, or ``max_steps`` or
            ``max_nfe`` of the solver is reached.
        ValueError: the times are not monotonic.
    """
    assert solver.first_step != "warm"
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
    solution = _solution(field, y0, t, solver, options)
    if solver.method.kind != "adaptive":  # which looks at every step
        _check_finite(solution, t, solver, steps)
    return solution


def _solution(
    field: Field, y0: Tensor, t: Tensor, solver: Solver, options: dict[str, Any]
) -> Tensor:
    # Here, since importing torchdiffeq, and with it scipy, takes as long as importing torch.
    from node_cli.ode.engines.reference.solvers import solution_of

    if solver.method.kind != "implicit_adams":
        return solution_of(field, y0, t, solver, options)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Functional iteration did not converge")
            return solution_of(field, y0, t, solver, options)
    except UserWarning as error:  # torchdiffeq would carry on with what it has
        raise SolveFailed(
            "the corrector did not converge within a step",
            solver=solver,
            advice=f"Take smaller steps, or loosen the tolerances. {STABILISE}",
            t=float(t[0]),
        ) from error


def _check_finite(solution: Tensor, t: Tensor, solver: Solver, steps: Steps) -> None:
    finite = solution.isfinite().reshape(len(t), -1).all(1)
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
