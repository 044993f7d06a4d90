"""A trial step on which something is not finite is rejected and tried again smaller."""

import math

import pytest
import torch
from torch import Tensor, nn

from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.failures import SolveFailed
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Controller, Engine, Solver
from node_cli.ode.work import Work
from tests.ode.problems import ADAPTIVE, FLOAT64, ONE_OF_EACH, Function, Spy, solve, times

both_engines = pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
TOLERANCES = {"rtol": 1e-5, "atol": 1e-5, "max_steps": 2000}


def walled(value: float) -> Function:
    """y = 0.3 + 0.7 exp(-50 t) from 1; f is ``value`` where a solution never is."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        return torch.where(y > 0.2, -50 * (y - 0.3), torch.full_like(y, value))

    return f


@both_engines
@pytest.mark.parametrize("value", [math.nan, -math.inf])
@pytest.mark.parametrize("first_step", [None, 0.1, 1.0])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_trial_beyond_where_f_is_defined(
    name: str, first_step: float | None, value: float, engine: Engine
) -> None:
    spy = Spy(walled(value))
    solver = Solver(name, first_step=first_step, engine=engine, **TOLERANCES)
    y, steps = solve(spy, times(1.0), times(0.0, 0.1), solver)
    # fehlberg2 controls the error of its first-order method, far smaller than Euler's.
    accuracy = 1e-2 if name == "fehlberg2" else 1e-3
    assert float(y[-1]) == pytest.approx(0.3 + 0.7 * math.exp(-5), abs=accuracy)
    assert steps.rejected or first_step is None
    if engine == "native":
        stages, attempts = solver.tableau.stages, steps.accepted + steps.rejected
        first = 1 if solver.tableau.first_same_as_last else steps.accepted
        assert spy.nfe == (first_step is None) + first + attempts * (stages - 1)


@both_engines
@pytest.mark.parametrize("controller", ["integral", "pi"])
@pytest.mark.parametrize("name", ["dopri5", "tsit5", "dopri8"])
def test_a_square_root_that_ends_at_zero(name: str, controller: Controller, engine: Engine) -> None:
    """y = (2 - t / 2)^2 (diffrax#143), and a first step as long as the interval."""
    if engine == "torchdiffeq" and controller == "pi":
        return
    solver = Solver(name, 1e-7, 1e-7, first_step=3.9, controller=controller, engine=engine)
    y, steps = solve(lambda t, y: -torch.sqrt(y), times(4.0), times(0.0, 3.9), solver)
    assert float(y[-1]) == pytest.approx(0.0025, abs=1e-5)
    assert steps.rejected


@both_engines
def test_a_state_that_overflows_is_not_accepted(engine: Engine) -> None:
    """f = -1e4 y^3 in float32 from 10: 1 / sqrt(0.01 + 2e4 t)."""
    y0 = torch.tensor([10.0])
    solver = Solver("dopri5", 1e-4, 1e-6, first_step=1.0, engine=engine)
    y, _ = solve(lambda t, y: -1e4 * y**3, y0, times(0.0, 1.0), solver)
    assert float(y[-1]) == pytest.approx((0.01 + 2e4) ** -0.5, rel=1e-2)
    for name in ADAPTIVE:  # y1 alone overflows, f nowhere
        solver = Solver(name, 1e-3, 1e-3, first_step=3.0, engine=engine, max_steps=100)
        f = Spy(lambda t, y: torch.where(t < 1, 1e38, 0.0) * torch.ones_like(y))
        y, _ = solve(f, torch.tensor([1e38]), times(0.0, 2.0), solver)
        assert y.isfinite().all(), name


@both_engines
@pytest.mark.parametrize("name", ADAPTIVE)
def test_a_probe_that_is_not_finite(name: str, engine: Engine) -> None:
    """The heuristic's tiny Euler step leaves the domain of f: a size is found all the same."""
    calls = 0

    def f(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return -y if calls != 2 else y * math.nan

    solver = Solver(name, engine=engine, **TOLERANCES)
    y, _ = solve(f, times(1.0, 2.0), times(0.0, 1.0), solver)
    assert float(y[-1, 0]) == pytest.approx(math.exp(-1), abs=1e-2)


@both_engines
@pytest.mark.parametrize("first_step", [None, 0.1])
@pytest.mark.parametrize("what", ["f", "the state"])
@pytest.mark.parametrize("name", ADAPTIVE)
def test_where_no_smaller_step_helps_it_fails_at_once(
    name: str, what: str, first_step: float | None, engine: Engine
) -> None:
    spy = Spy(lambda t, y: y * math.nan)
    y0 = times(1.0, math.nan if what == "the state" else 1.0)
    solver = Solver(name, first_step=first_step, engine=engine, **TOLERANCES)
    with pytest.raises(SolveFailed, match=f"^{what} is not finite where a step begins") as caught:
        solve(spy, y0, times(0.0, 1.0), solver)
    assert caught.value.accepted == 0
    assert spy.nfe <= solver.tableau.stages + 2


@both_engines
def test_a_wall_across_the_solution_is_told_as_such(engine: Engine) -> None:
    """Not as an underflow of the step size alone; and the budget of steps counts every trial."""
    wall = Spy(lambda t, y: torch.where(t > 0.5, math.nan, 1.0) * y)
    solver = Solver("dopri5", 1e-6, 1e-6, engine=engine)
    with pytest.raises(SolveFailed, match="is not finite within a step, however small") as caught:
        solve(wall, times(1.0), times(0.0, 1.0), solver)
    assert caught.value.t == pytest.approx(0.5, abs=1e-9)
    assert caught.value.rejected > 10
    solver = Solver("dopri5", 1e-6, 1e-6, engine=engine, max_steps=9)
    with pytest.raises(SolveFailed, match="9 steps were not enough") as caught:
        solve(wall, times(1.0), times(0.0, 1.0), solver)
    assert caught.value.accepted + caught.value.rejected == 9


class Walled(nn.Module):
    """A trained ``walled``."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(50.0, dtype=FLOAT64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.where(y > 0.2, -self.rate * (y - 0.3), math.nan)


METHODS_OF_GRADIENTS = [
    Discrete(),
    pytest.param(ONE_OF_EACH["interpolating"], marks=pytest.mark.slow),
]


@pytest.mark.usefixtures("graphs")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize("sensitivity", METHODS_OF_GRADIENTS)
@pytest.mark.parametrize("name", [pytest.param("tsit5", marks=pytest.mark.slow), "adaptive_heun"])
def test_compiled_loops_reject_alike(name: str, sensitivity: Sensitivity) -> None:
    """The same counts and gradients; the same failures, at the same place."""
    solver = Solver(name, 1e-3, 1e-3, first_step=1.0, max_steps=500)
    found = []
    for called in (Walled(), CompiledField(Walled())):
        y0, work = times(1.0, 0.7).requires_grad_(), Work()
        y = sensitivity(called, y0, times(0.0, 1.0), solver, work)
        gradient = torch.autograd.grad(y[-1].sum(), [y0, *called.parameters()])
        assert work.forward.rejected
        failures = []
        for start, reason in ((0.1, "f is not finite where"), (math.nan, "the state is not")):
            with pytest.raises(SolveFailed, match=reason) as caught:
                sensitivity(called, times(1.0, start), times(0.0, 1.0), solver, Work())
            failures.append((caught.value.accepted, caught.value.rejected))
        found.append((work, failures, y, gradient))
    assert found[0][:2] == found[1][:2]
    torch.testing.assert_close(found[0][2:], found[1][2:])
