"""Dense output: its order, and where it meets the solution."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor

from node_cli.ode.engines.eager.dense_output import DenseOutput
from node_cli.ode.solver import METHODS, Solver
from tests.ode.problems import (
    FIXED,
    PROBLEMS,
    RUNGE_KUTTA,
    Function,
    Spy,
    equal_steps,
    exact,
    pendulum,
    solve,
    solve_densely,
    times,
)

QUARTIC = ["dopri5", "tsit5"]


def solver(name: str) -> Solver:
    return Solver(name, n_steps=6) if name in FIXED else Solver(name, rtol=1e-4, atol=1e-4)


def values(trajectory: DenseOutput, t1: float) -> Tensor:
    """At times off every grid, close enough to meet the worst of every step."""
    return torch.stack([trajectory.at(s) for s in np.linspace(0.001, 0.999, 301) * t1])


@lru_cache
def truth(f: Function, y0: Tensor, t1: float) -> Tensor:
    """To rounding: polynomials of degree 7 over steps of 1 / 80."""
    return values(solve_densely(f, y0, *equal_steps("dopri8", 128, 0.0, t1))[2], t1)


@pytest.mark.parametrize("t1", [1.5, -1.5])
@pytest.mark.parametrize(("f", "y0"), PROBLEMS)
@pytest.mark.parametrize("name", RUNGE_KUTTA)
def test_order_of_the_dense_output(name: str, f: Function, y0: Tensor, t1: float) -> None:
    """The largest error between the steps falls like that of the method, or of the interpolant.

    A polynomial of degree p misses a smooth y by O(h^(p + 1)), no more than the method does. For
    growing and for falling t.
    """
    expected = METHODS[name].order
    assert expected is not None
    counts = [8, 10, 12, 16] if name == "dopri8" else [16, 24, 32, 48]
    errors = []
    for n in counts:
        trajectory = solve_densely(f, y0, *equal_steps(name, n, 0.0, t1))[2]
        errors.append(float((values(trajectory, t1) - truth(f, y0, t1)).abs().max()))
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope >= expected - (0.5 if name == "dopri8" else 0.3), (
        f"slope {slope:.2f}, errors {errors}"
    )


@pytest.mark.parametrize("values", [[0.0, 0.7, 2.0], [2.0, 0.7, -1.0]])
@pytest.mark.parametrize("name", RUNGE_KUTTA)
def test_it_meets_state_and_slope_at_the_ends_of_every_step(name: str, values: list[float]) -> None:
    _, steps, trajectory = solve_densely(pendulum, times(0.7, 0.4), times(*values), solver(name))
    assert len(trajectory.steps) == steps.accepted
    same = {"rtol": 0, "atol": 1e-14}
    h = 1e-5
    for step in trajectory.steps:
        torch.testing.assert_close(trajectory.at(step.t0), step.y0, **same)
        torch.testing.assert_close(trajectory.at(step.t1), step.y1, **same)
        for t, y, inside in ((step.t0, step.y0, h), (step.t1, step.y1, -h)):
            # The polynomial's derivative, one-sided, of order 2.
            f = pendulum(torch.tensor(t, dtype=y.dtype), y)
            d = inside * step.dt
            slope = (4 * trajectory.at(t + d) - trajectory.at(t + 2 * d) - 3 * trajectory.at(t)) / (
                2 * d
            )
            torch.testing.assert_close(slope, f, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", QUARTIC)
def test_the_middle_of_a_step_has_order_4(name: str) -> None:
    """The error of y at the middle of one step, against its length: h^5 at least."""
    y0, sizes, errors = times(0.7, 0.4), [0.2, 0.25, 0.3, 0.4], []
    for h in sizes:
        trajectory = solve_densely(pendulum, y0, *equal_steps(name, 1, 0.0, h))[2]
        errors.append(float((trajectory.at(h / 2) - exact(pendulum, y0, h / 2)).norm()))
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slope >= 4.7


@pytest.mark.parametrize("name", [name for name in RUNGE_KUTTA if name != "dopri8"])
def test_it_costs_one_evaluation_at_most(name: str) -> None:
    """None where the last stage of a step is f at its end."""
    plain, dense = Spy(pendulum), Spy(pendulum)
    y0, t = times(0.7, 0.4), times(0.0, 0.4, 1.0)
    y, steps = solve(plain, y0, t, solver(name))
    y_dense, steps_dense, _ = solve_densely(dense, y0, t, solver(name))
    assert torch.equal(y, y_dense)
    assert steps == steps_dense
    extra = 0 if solver(name).tableau.first_same_as_last else 1
    assert dense.nfe == plain.nfe + extra
    assert dense.t[: plain.nfe] == plain.t


def test_dopri8_costs_four_evaluations_in_each_step_that_was_accepted() -> None:
    """None in those that were rejected; and the polynomial meets what they give."""
    plain, dense = Spy(pendulum), Spy(pendulum)
    y0, t, loose = times(0.7, 0.4), times(0.0, 9.0), Solver("dopri8", rtol=1e-6, atol=1e-6)
    loose = replace(loose, first_step=9.0)
    _, steps = solve(plain, y0, t, loose)
    _, _, trajectory = solve_densely(dense, y0, t, loose)
    assert steps.rejected
    assert steps.accepted is not None
    assert dense.nfe == plain.nfe + 4 * steps.accepted
    for number, step in enumerate(trajectory.steps):
        for theta, y in zip(loose.tableau.fractions, trajectory.points(number)[4:], strict=True):
            inside = trajectory.at(step.t0 + theta * step.dt)
            torch.testing.assert_close(inside, y, rtol=1e-12, atol=1e-13)


def test_the_result_is_a_tensor_of_its_own() -> None:
    """Writing into it leaves the trajectory as it was."""
    trajectory = solve_densely(pendulum, times(0.7, 0.4), times(0.0, 1.0), solver("dopri5"))[2]
    before = trajectory.at(0.5).clone()
    trajectory.at(0.5).zero_()
    assert torch.equal(trajectory.at(0.5), before)


def pulses(t: Tensor, y: Tensor) -> Tensor:
    """Short steps around multiples of pi, long ones between."""
    return torch.exp(-30 * torch.sin(t) ** 2) - 0.1 * y


@pytest.mark.parametrize("t1", [12.0, -12.0])
def test_the_longest_step_reaches_into_no_step_that_had_to_be_shorter(t1: float) -> None:
    """Seen from any time, towards the start; and one that is longer would."""
    t = times(0.0, 0.3 * t1, 0.3000001 * t1, t1)  # one step is short for want of room alone
    trajectory = solve_densely(pulses, times(1.0), t, solver("dopri5"))[2]
    steps = trajectory.steps
    assert min(abs(step.dt) for step in steps) == pytest.approx(1.2e-6)
    assert 1e-2 < min(step.natural or 0 for step in steps) < 1
    sign = 1 if t1 > 0 else -1
    for s in np.linspace(0.01, 1.0, 400) * t1:
        longest = trajectory.longest_step(s)
        for size, fits in ((longest * (1 - 1e-9), True), (longest * (1 + 1e-9), False)):
            crossed = [x for x in steps if sign * x.t0 < sign * s and sign * (s - x.t1) < size]
            short_enough = all(size <= (step.natural or 0) for step in crossed)
            assert (short_enough and size <= sign * s) == fits
