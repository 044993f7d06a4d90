"""Solves that cannot be finished: a SolveFailed says why, where and what to try."""

import math

import pytest
import torch
from torch import Tensor

from node_cli.ode.failures import SolveFailed
from node_cli.ode.solver import Engine, Solver
from tests.ode.problems import ADAPTIVE, FIXED, Function, blow_up, pendulum, solve, times

TOLERANCES = {"rtol": 1e-6, "atol": 1e-6}
LIMITED = {"max_steps": 3_000, **TOLERANCES}  # ends a solve that goes round in circles


def not_a_number(t: Tensor, y: Tensor) -> Tensor:
    return torch.where(t > 0.5, torch.nan, 1.0) * y


def infinite(t: Tensor, y: Tensor) -> Tensor:
    return torch.where(t > 0.5, torch.inf, 1.0) * y


def failure(f: Function, t: Tensor, solver: Solver, y0: Tensor | None = None) -> SolveFailed:
    with pytest.raises(SolveFailed) as caught:
        solve(f, times(1.0, 1.0) if y0 is None else y0, t, solver)
    return caught.value


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
@pytest.mark.parametrize("name", ["bosh3", "dopri5", "tsit5", "dopri8"])
@pytest.mark.parametrize(
    ("f", "options", "reason", "advice", "where"),
    [
        (blow_up, {}, "the step size underflows", "Loosen the tolerances", 1.0),
        (not_a_number, {}, "not finite", "lower the learning rate", None),
        (infinite, {}, "not finite", "lower the learning rate", None),
        (pendulum, {"max_steps": 2}, "2 steps were not enough", "raise max_steps", None),
        (pendulum, {"max_nfe": 5}, "5 evaluations of f were not", "raise max_nfe", None),
    ],
)
def test_adaptive_failures_explain_themselves(
    f: Function,
    options: dict[str, int],
    reason: str,
    advice: str,
    where: float | None,
    name: str,
    engine: Engine,
) -> None:
    solver = Solver(name, engine=engine, **(LIMITED | options))
    error = failure(f, times(0.0, 2.0), solver)
    assert reason in error.reason
    assert error.solver is solver
    assert not error.backward
    assert 0 <= error.t < 2
    if where is not None:
        assert error.t == pytest.approx(where, abs=1e-2)
    assert error.accepted is not None
    assert error.rejected is not None
    assert error.y_norm is not None
    assert error.y_norm > 0
    message = str(error)
    assert message.startswith(error.reason)
    assert advice in message
    for fact in ("t=", "|y|=", "accepted=", "rejected=", f"({name} rtol=1e-06 atol=1e-06"):
        assert fact in message
    if "max_nfe" not in options:
        assert error.dt is not None
        assert error.f_norm is not None
        assert "dt=" in message
        assert "|f|=" in message


@pytest.mark.parametrize("name", ["dopri5", "bosh3"])
def test_failures_count_the_steps_that_were_made(name: str) -> None:
    """max_steps bounds accepted plus rejected ones; both engines stop at the same place."""
    ours, theirs = (
        failure(
            pendulum,
            times(0.0, 2.0),
            Solver(name, engine=engine, first_step=1.0, max_steps=6, rtol=1e-9, atol=1e-9),
        )
        for engine in ("native", "torchdiffeq")
    )
    assert (ours.accepted, ours.rejected) == (theirs.accepted, theirs.rejected)
    assert ours.accepted + ours.rejected == 6
    assert ours.rejected > 0
    assert ours.t == pytest.approx(theirs.t, abs=1e-9)
    assert ours.y_norm == pytest.approx(theirs.y_norm, rel=1e-9)
    assert ours.f_norm == pytest.approx(theirs.f_norm, rel=1e-9)


def test_max_steps_that_suffice_are_no_failure() -> None:
    y0, t = times(0.7, 0.4), times(0.0, 0.5, 2.0)
    _, steps = solve(pendulum, y0, t, Solver("dopri5", **TOLERANCES))
    needed = steps.accepted + steps.rejected
    solve(pendulum, y0, t, Solver("dopri5", max_steps=needed, **TOLERANCES))
    error = failure(pendulum, t, Solver("dopri5", max_steps=needed - 1, **TOLERANCES), y0)
    assert error.accepted + error.rejected == needed - 1


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_step_solution_that_is_not_finite_is_none(name: str, engine: Engine) -> None:
    """It would carry nan or inf to the end without a word."""
    for f in (not_a_number, blow_up):
        solver = Solver(name, n_steps=40, engine=engine)
        error = failure(f, times(0.0, 0.3, 4.0), solver)
        assert "the state is not finite" in error.reason
        assert "Take smaller steps" in str(error)
        assert 0.3 <= error.t <= 4.0


@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_state_or_a_field_not_finite_at_the_start(name: str) -> None:
    """No step can be chosen there: t is the start, nothing was accepted."""
    for y0 in (times(math.nan, 1.0), times(math.inf, 1.0)):
        error = failure(pendulum, times(0.0, 1.0), Solver(name, **LIMITED), y0)
        assert "not finite" in error.reason
        assert (error.t, error.accepted) == (0.0, 0)
    error = failure(not_a_number, times(0.6, 1.0), Solver(name, **LIMITED))
    assert "not finite" in error.reason
    assert (error.t, error.accepted) == (0.6, 0)


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
def test_a_failure_backwards_in_time_shows_the_true_time(engine: Engine) -> None:
    solver = Solver("dopri5", engine=engine, **LIMITED)
    error = failure(lambda t, y: -(y**2), times(5.0, 2.0), solver)
    assert error.t == pytest.approx(4.0, abs=1e-3)
    assert error.dt is not None
    assert error.dt < 0


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
@pytest.mark.parametrize("solver", [Solver("euler", n_steps=1), Solver("dopri5", **LIMITED)])
@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [0.0, 1.0, 0.5]])
def test_times_that_are_not_monotonic_are_refused(
    values: list[float], solver: Solver, engine: Engine
) -> None:
    with pytest.raises(ValueError, match="increasing or decreasing"):
        solve(
            pendulum, times(0.7, 0.4), times(*values), Solver(**{**vars(solver), "engine": engine})
        )
