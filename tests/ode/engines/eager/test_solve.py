"""The native engine: order of convergence, step sizes, precision."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from node_cli.ode.field import Autocast
from node_cli.ode.solver import METHODS, Engine, Solver, StepMemory
from node_cli.ode.work import CountedField, Work
from tests.ode.problems import (
    ADAPTIVE,
    FIXED,
    FLOAT64,
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

TOLERANCES = {"rtol": 1e-6, "atol": 1e-6}


@pytest.mark.parametrize(("f", "y0"), PROBLEMS)
@pytest.mark.parametrize("name", RUNGE_KUTTA)
def test_order_of_convergence(name: str, f: Function, y0: Tensor) -> None:
    """The slope of log(error) against log(step) is the published order, for equal steps.

    Steps in the asymptotic range whose errors are far above rounding: long ones for dopri8.
    """
    order = METHODS[name].order
    assert order is not None
    counts = {8: [6, 8, 10, 12], 5: [8, 12, 16, 24]}.get(order, [16, 24, 32, 48, 64])
    t1 = 2.0 if order >= 5 else 1.0
    truth = exact(f, y0, t1)
    errors = []
    for n in counts:
        y, steps = solve(f, y0, *equal_steps(name, n, 0.0, t1))
        assert (steps.accepted, steps.rejected) == (n, 0)
        errors.append(float((y[-1] - truth).norm()))
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope >= order - 0.3, f"slope {slope:.2f}, errors {errors}"


@pytest.mark.parametrize("controller", ["integral", "pi"])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_error_falls_with_the_tolerance(name: str, controller: str) -> None:
    """Within 30 times of it; 300 for fehlberg2, which carries on its second-order solution, but
    controls the error of the first-order one, 512 times smaller than Euler's."""
    bound = 300 if name == "fehlberg2" else 30
    tolerances = {
        "adaptive_heun": (1e-2, 1e-4, 1e-6),
        "fehlberg2": (1e-4, 1e-6, 1e-8),
    }.get(name, (1e-3, 1e-6, 1e-9))
    for f, y0 in PROBLEMS:
        truth, errors = exact(f, y0, 2.0), []
        for tol in tolerances:
            solver = Solver(name, rtol=tol, atol=tol, controller=controller)
            y, _ = solve(f, y0, times(0.0, 2.0), solver)
            errors.append(float((y[-1] - truth).norm()))
            assert errors[-1] < bound * tol
        assert errors[2] < errors[1] / 10 < errors[0] / 100


@pytest.mark.parametrize("name", RUNGE_KUTTA)
@pytest.mark.parametrize("values", [[0.0, 0.3, 1.0], [1.0, 0.65, 0.6, -0.5]])
def test_every_requested_time_is_landed_on(name: str, values: list[float]) -> None:
    """f is never evaluated outside the interval, and what lies beyond a requested time has no
    effect on the state there: it is a state of the solver, not interpolated back to."""
    solver = Solver(name, n_steps=9) if name in FIXED else Solver(name, **TOLERANCES)
    t, y0, spy = times(*values), times(0.7, 0.4), Spy(pendulum)
    y, _ = solve(spy, y0, t, solver)
    assert min(values) <= min(spy.t)
    assert max(spy.t) <= max(values)
    assert torch.equal(y[0], y0)
    for i in range(1, len(values)):
        assert torch.equal(y[i], solve(pendulum, y0, t[: i + 1], solver)[0][-1])


@pytest.mark.parametrize("name", RUNGE_KUTTA)
def test_the_accepted_steps_join_up(name: str) -> None:
    """Each begins where the one before has ended, in time and state, and the last of an interval
    ends at the requested time."""
    solver = Solver(name, n_steps=9) if name in FIXED else Solver(name, **TOLERANCES)
    y, steps, trajectory = solve_densely(pendulum, times(0.7, 0.4), times(1.0, 0.3, -0.5), solver)
    seen = trajectory.steps
    assert len(seen) == steps.accepted
    assert seen[0].t0 == 1.0
    for before, after in pairwise(seen):
        assert before.t1 == after.t0
        assert torch.equal(before.y1, after.y0)
        assert before.interval <= after.interval
    for i, end in enumerate((0.3, -0.5)):
        last = [step for step in seen if step.interval == i][-1]
        assert last.t1 == end
        assert torch.equal(last.y1, y[i + 1])


def van_der_pol(t: Tensor, y: Tensor) -> Tensor:
    """Relaxation oscillations, stiff between them (mu = 100)."""
    return torch.stack([y[1], 100 * (1 - y[0] ** 2) * y[1] - y[0]])


@pytest.mark.parametrize("name", ["bosh3", "dopri5", "tsit5"])
def test_the_pi_controller_rejects_less_where_stability_limits_the_step(name: str) -> None:
    """The integral one hits the limit, is rejected, shrinks, grows, and hits it again."""
    y0, t = times(2.0, 0.0), times(0.0, 4.0)
    truth = exact(van_der_pol, y0, 4.0)
    rejected = {}
    for controller in ("integral", "pi"):
        y, steps = solve(van_der_pol, y0, t, Solver(name, controller=controller, **TOLERANCES))
        assert float((y[-1] - truth).abs().max()) < 1e-5
        rejected[controller] = steps.rejected
    assert rejected["integral"] > 50
    assert rejected["pi"] < rejected["integral"] / 10


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_given_first_step_saves_the_heuristics_evaluation(name: str, engine: Engine) -> None:
    spy = Spy(pendulum)
    t = times(0.0, 1.0)
    solver = Solver(name, first_step=0.125, engine=engine, rtol=1.0, atol=1.0)
    solve(spy, times(0.7, 0.4), t, solver)
    tableau = solver.tableau
    assert spy.t[: tableau.stages] == pytest.approx([0.125 * c for c in tableau.c], abs=1e-15)


def test_a_warm_start_begins_with_what_the_last_solve_proposed() -> None:
    """The first solve is as without it; the next one needs one evaluation less for its start."""
    y0, t, memory = times(0.7, 0.4), times(0.0, 3.0), StepMemory()
    cold, first, second = Spy(pendulum), Spy(pendulum), Spy(pendulum)
    solve(cold, y0, t, Solver("dopri5", **TOLERANCES))
    solver = Solver("dopri5", first_step="warm", **TOLERANCES)
    solve(first, y0, t, solver, memory)
    assert first.t == cold.t
    # After f(t0) and the heuristic come 6 stages per step; the first of them stands at dt / 5.
    proposed = (first.t[8] - first.t[7]) * 5
    assert memory.size == pytest.approx(proposed, rel=1e-9)

    copy = replace(memory)
    solve(second, y0, t, solver, copy)
    assert second.t[1] == pytest.approx(proposed / 5, rel=1e-9)
    assert memory.size == pytest.approx(proposed, rel=1e-9)
    given = Spy(pendulum)
    solve(given, y0, t, Solver("dopri5", first_step=memory.size, **TOLERANCES))
    assert given.t == second.t


def test_a_warm_start_without_a_memory_is_cold() -> None:
    y0, t = times(0.7, 0.4), times(0.0, 3.0)
    cold, warm = Spy(pendulum), Spy(pendulum)
    solve(cold, y0, t, Solver("dopri5", **TOLERANCES))
    solve(warm, y0, t, Solver("dopri5", first_step="warm", **TOLERANCES))
    assert warm.t == cold.t


@pytest.mark.parametrize("first_step", [None, 0.125])
def test_a_memory_is_for_warm_starts_alone(first_step: float | None) -> None:
    memory, t = StepMemory(0.5), times(0.0, 3.0)
    solve(
        pendulum, times(0.7, 0.4), t, Solver("dopri5", first_step=first_step, **TOLERANCES), memory
    )
    assert memory == StepMemory(0.5)


def test_a_warm_start_goes_on_learning_and_halves_the_work_of_one_step() -> None:
    """Where a single step meets the tolerance: 14 evaluations of f from the heuristic, then 7."""
    memory, nfe, sizes = StepMemory(), [], []
    solver = Solver("dopri5", rtol=1e-3, atol=1e-3, first_step="warm")
    for _ in range(4):
        spy = Spy(lambda t, y: torch.cos(t) * 0.1 * y)
        solve(spy, times(0.7, 0.4), times(0.0, 1.0), solver, memory)
        nfe.append(spy.nfe)
        sizes.append(memory.size)
    assert nfe == [14, 7, 7, 7]
    assert sizes[0] != sizes[1]


def test_a_warm_start_is_not_learnt_from_a_step_that_was_rejected() -> None:
    memory = StepMemory(10.0)
    solver = Solver("dopri5", first_step="warm", **TOLERANCES)
    steps = solve(pendulum, times(0.7, 0.4), times(0.0, 10.0), solver, memory)[1]
    assert steps.rejected
    assert memory.size is not None
    assert 0 < memory.size < 2.0


@pytest.mark.parametrize("name", RUNGE_KUTTA)
def test_autocast_concerns_f_alone(name: str) -> None:
    """Under bf16 autocast the native engine computes stages, sums and norms in float32."""
    layer, inputs, outputs = torch.nn.Linear(3, 3), set(), set()

    def f(t: Tensor, y: Tensor) -> Tensor:
        inputs.update({y.dtype, t.dtype})
        dy = layer(y)
        outputs.add(dy.dtype)
        return dy

    solver = Solver(name, n_steps=2) if name in FIXED else Solver(name, rtol=1e-2, atol=1e-2)
    y0, t = torch.randn(5, 3), times(0.0, 1.0)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        y, _ = solve(CountedField(f, Work(), Autocast("cpu")), y0, t, solver)
    assert y.dtype == torch.float32
    assert inputs == {torch.float32}
    assert outputs == {torch.bfloat16}
    with torch.no_grad():
        full, _ = solve(f, y0, t, solver)
    assert 0 < float((y - full).abs().max()) < 0.03


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
@pytest.mark.parametrize("name", RUNGE_KUTTA)
def test_state_and_time_reach_f_in_the_dtype_of_the_state(name: str, dtype: torch.dtype) -> None:
    """And any shape of it does, whatever the dtype of the requested times."""
    solver = Solver(name, n_steps=2) if name in FIXED else Solver(name, rtol=1e-3, atol=1e-3)
    spy, y0 = Spy(lambda t, y: torch.cos(t) - y), torch.ones(2, 1, 3, dtype=dtype)
    for t in (times(0.0, 1.0), times(0.0, 1.0, dtype=torch.float32)):
        y, _ = solve(spy, y0, t, solver)
        assert y.shape == (2, *y0.shape)
        assert y.dtype == dtype
    assert spy.dtypes == {dtype}
