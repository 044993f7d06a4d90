"""The solvers: order, landing, grids, agreement with torchdiffeq itself, failures."""

import math

import numpy as np
import pytest
import torch
import torchdiffeq
from torch import Tensor

from node_cli.ode.engines.reference.solve import integrate
from node_cli.ode.failures import SolveFailed
from node_cli.ode.solver import METHODS, Solver
from node_cli.ode.tableaus import TSIT5
from tests.ode.problems import PROBLEMS, exact, growth, pendulum

FLOAT64 = torch.float64
ADAPTIVE = [name for name, method in METHODS.items() if method.kind == "adaptive"]
FIXED = [name for name, method in METHODS.items() if method.kind == "fixed"]
ADAMS = [name for name in METHODS if name.endswith("adams")]


def solver(name: str, **options: object) -> Solver:
    """A solver with options that its kind needs, for tests that do not care which."""
    kind = METHODS[name].kind
    defaults: dict[str, object] = {}
    if kind != "fixed" and kind != "explicit_adams":
        defaults |= {"rtol": 1e-8, "atol": 1e-8}
    if kind in ("fixed", "explicit_adams", "implicit_adams"):
        defaults |= {"n_steps": 64}
    if "adams" in kind:
        defaults |= {"max_order": 4}
    if kind == "scipy":
        defaults |= {"scipy_method": "DOP853"}
    return Solver(name, **(defaults | options))


def constant_steps(name: str, f, y0: Tensor, t1: float, n: int) -> Tensor:
    """y(t1) after n equal steps, of an adaptive method too: it lands after each of them."""
    if METHODS[name].kind != "adaptive":
        # As tight as the corrector's four iterations reach in steps of 1/48.
        tolerances = {"rtol": 1e-9, "atol": 1e-9} if METHODS[name].kind == "implicit_adams" else {}
        t = torch.tensor([0.0, t1], dtype=FLOAT64)
        return integrate(f, y0, t, solver(name, n_steps=n, **tolerances))[0][-1]
    t = torch.linspace(0, t1, n + 1, dtype=FLOAT64)
    y, steps = integrate(f, y0, t, solver(name, rtol=1e10, atol=1e10, first_step=t1))
    assert steps.accepted == n
    return y[-1]


@pytest.mark.parametrize(("f", "y0"), PROBLEMS)
@pytest.mark.parametrize("name", [*ADAPTIVE, *FIXED, *ADAMS])
def test_order_of_convergence(name: str, f, y0: Tensor) -> None:
    """The slope of log(error) against log(step) is the published order, for constant steps."""
    order = METHODS[name].order or (3 if name == "explicit_adams" else 4)
    steps = {8: [6, 8, 10, 12], 5: [8, 12, 16, 24]}.get(order, [16, 24, 32, 48, 64])
    steps = [48, 64, 96, 128] if METHODS[name].kind == "implicit_adams" else steps
    t1 = 2.0 if order >= 5 else 1.0
    truth = exact(f, y0, t1)
    errors = [float((constant_steps(name, f, y0, t1, n) - truth).norm()) for n in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order - 0.3 <= slope, f"slope {slope:.2f}, errors {errors}"


def test_tsit5_meets_the_order_conditions() -> None:
    """Quadrature and simplifying conditions up to order 5; the embedded weights to order 4."""
    c, b = np.array(TSIT5.c), np.array(TSIT5.b)
    a = np.array([[*row, *[0.0] * (7 - len(row))] for row in TSIT5.a])
    embedded = b - np.array(TSIT5.b_error)
    assert np.allclose(a.sum(1), c, atol=1e-14)
    for k in range(1, 6):
        assert math.isclose(b @ c ** (k - 1), 1 / k, abs_tol=1e-14)
    for k in range(1, 5):
        assert math.isclose(embedded @ c ** (k - 1), 1 / k, abs_tol=1e-12)
    assert abs(embedded @ c**4 - 1 / 5) > 1e-5
    for weights, value in (
        (b @ a @ c, 1 / 6),
        ((b * c) @ a @ c, 1 / 8),
        (b @ a @ c**2, 1 / 12),
        (b @ a @ a @ c, 1 / 24),
        (b @ a @ a @ a @ c, 1 / 120),
        ((b * c) @ a @ c**2, 1 / 15),
    ):
        assert math.isclose(weights, value, abs_tol=1e-14)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("times", [[0.0, 0.3, 1.0], [1.0, 0.65, 0.6, -0.5]])
def test_every_requested_time_is_landed_on(name: str, times: list[float]) -> None:
    """f is never evaluated outside the interval, and what lies beyond a requested time has no
    effect on the state there: it is a state of the solver, not interpolated back to."""
    seen: list[float] = []

    def f(t: Tensor, y: Tensor) -> Tensor:
        seen.append(float(t))
        return pendulum(t, y)

    t = torch.tensor(times, dtype=FLOAT64)
    y0 = torch.tensor([0.7, 0.4], dtype=FLOAT64)
    y, _ = integrate(f, y0, t, solver(name))
    assert min(times) - 1e-12 <= min(seen)
    assert max(seen) <= max(times) + 1e-12
    assert torch.equal(y[0], y0)
    for i in range(1, len(times)):
        assert torch.equal(y[i], integrate(pendulum, y0, t[: i + 1], solver(name))[0][-1])


@pytest.mark.parametrize("name", ["dopri5", "dopri8", "bosh3", "adaptive_heun", "fehlberg2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_steps_as_torchdiffeq_asked_to_land(name: str, dtype: torch.dtype) -> None:
    """One interval, torchdiffeq's own odeint with step_t at its end: same state, NFE and steps."""
    calls = {"ours": 0, "theirs": 0}

    def f(who: str):
        def field(t: Tensor, y: Tensor) -> Tensor:
            calls[who] += 1
            return pendulum(t, y)

        return field

    y0 = torch.tensor([0.7, 0.4], dtype=dtype)
    t = torch.tensor([0.0, 3.0], dtype=FLOAT64)
    y, _ = integrate(f("ours"), y0, t, Solver(name, rtol=1e-4, atol=1e-5))
    theirs = torchdiffeq.odeint(
        f("theirs"), y0, t, rtol=1e-4, atol=1e-5, method=name, options={"step_t": t[1:]}
    )
    assert calls["ours"] == calls["theirs"]
    # Theirs goes through an interpolating polynomial, which cancels in float32.
    torch.testing.assert_close(y, theirs, rtol=0, atol=1e-12 if dtype == FLOAT64 else 3e-5)


@pytest.mark.parametrize("name", [*FIXED, "implicit_adams", "explicit_adams"])
def test_same_states_as_torchdiffeq_on_a_fixed_grid(name: str) -> None:
    y0 = torch.tensor([0.7, 0.4], dtype=FLOAT64)
    t = torch.tensor([0.0, 1.0], dtype=FLOAT64)
    ours, _ = integrate(pendulum, y0, t, solver(name, n_steps=8, max_order=None))
    theirs = torchdiffeq.odeint(
        pendulum, y0, t, rtol=1e-8, atol=1e-8, method=name, options={"step_size": 1 / 8}
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_number_of_fixed_steps(dtype: torch.dtype) -> None:
    """step_size=1/n over [0, 1] is n steps, whatever 1/n rounds to; a little less is n + 1."""
    for n in range(1, 201):
        for size, expected in ((1 / n, n), (1 / (n + 0.01), n + 1)):
            calls = 0

            def f(t: Tensor, y: Tensor) -> Tensor:
                nonlocal calls
                calls += 1
                return -y

            t = torch.tensor([0.0, 1.0], dtype=dtype)
            _, steps = integrate(f, torch.ones(1, dtype=dtype), t, Solver("euler", step_size=size))
            assert calls == steps.accepted == expected


def test_step_size_is_a_maximum_in_each_interval() -> None:
    t = torch.tensor([0.0, 1.0, 1.5, 1.51, 2.0], dtype=FLOAT64)
    _, steps = integrate(growth, torch.ones(1, dtype=FLOAT64), t, Solver("euler", step_size=0.05))
    assert steps.accepted == 20 + 10 + 1 + 10


@pytest.mark.parametrize("method", ["RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA"])
def test_scipy_error_falls_with_the_tolerance(method: str) -> None:
    y0 = torch.tensor([0.7, 0.4], dtype=FLOAT64)
    t = torch.tensor([0.0, 1.0], dtype=FLOAT64)
    truth = exact(pendulum, y0, 1.0)
    errors = []
    for tol in (1e-3, 1e-6, 1e-9):
        y, _ = integrate(pendulum, y0, t, solver("scipy", rtol=tol, atol=tol, scipy_method=method))
        errors.append(float((y[-1] - truth).norm()))
        assert errors[-1] < 30 * tol
    assert errors[2] < errors[0] / 10


def test_the_initial_step_is_not_differentiated() -> None:
    """The gradient equals that with the same first step given as a constant."""
    t = torch.tensor([0.0, 1.0], dtype=FLOAT64)
    sizes = []

    def gradient(**options: float) -> Tensor:
        y0 = torch.tensor([0.7, 0.4], dtype=FLOAT64, requires_grad=True)
        y, _ = integrate(pendulum, y0, t, Solver("dopri5", rtol=1e-3, atol=1e-3, **options))
        (gradient,) = torch.autograd.grad(y[-1].square().sum(), y0)
        return gradient

    def spy(t: Tensor, y: Tensor) -> Tensor:
        sizes.append(float(t))
        return pendulum(t, y)

    integrate(
        spy, torch.tensor([0.7, 0.4], dtype=FLOAT64), t, Solver("dopri5", rtol=1e-3, atol=1e-3)
    )
    first_step = sizes[2] * 5  # the first stage after f(t0) and the heuristic stands at c = 1/5
    torch.testing.assert_close(gradient(), gradient(first_step=first_step), rtol=1e-13, atol=0)


def blow_up(t: Tensor, y: Tensor) -> Tensor:
    return y**2


def not_a_number(t: Tensor, y: Tensor) -> Tensor:
    return torch.where(t > 0.5, torch.nan, 1.0) * y


@pytest.mark.parametrize(
    ("f", "options", "reason"),
    [
        (blow_up, {}, "underflow"),
        (not_a_number, {}, "not finite"),
        (pendulum, {"max_steps": 3, "rtol": 1e-10, "atol": 1e-10}, "3 steps were not enough"),
    ],
)
def test_failures_explain_themselves(f, options: dict[str, float], reason: str) -> None:
    y0 = torch.tensor([1.0, 1.0], dtype=FLOAT64)
    with pytest.raises(SolveFailed, match=reason) as caught:
        integrate(f, y0, torch.tensor([0.0, 2.0], dtype=FLOAT64), solver("dopri5", **options))
    failure = caught.value
    assert 0 <= failure.t < 2
    assert failure.accepted is not None
    assert failure.y_norm is not None
    for fact in ("t=", "dt=", "|y|=", "|f|=", "accepted=", "rejected=", "dopri5 rtol="):
        assert fact in str(failure)


def test_a_failure_backwards_in_time_shows_the_true_time() -> None:
    y0 = torch.tensor([1.0], dtype=FLOAT64)
    with pytest.raises(SolveFailed) as caught:
        integrate(
            lambda t, y: -(y**2),
            y0,
            torch.tensor([5.0, 2.0], dtype=FLOAT64),
            Solver("dopri5", rtol=1e-6, atol=1e-6),
        )
    assert caught.value.t == pytest.approx(4.0, abs=1e-3)
    assert caught.value.dt is not None
    assert caught.value.dt < 0


def test_scipy_failure_is_explained() -> None:
    t = torch.tensor([0.0, 2.0], dtype=FLOAT64)
    with pytest.raises(SolveFailed, match="RK45 stopped"):
        integrate(
            blow_up,
            torch.ones(1, dtype=FLOAT64),
            t,
            Solver("scipy", rtol=1e-6, atol=1e-6, scipy_method="RK45"),
        )


@pytest.mark.parametrize("name", ["implicit_adams", "fixed_adams"])
def test_a_corrector_that_does_not_converge_is_a_failure(name: str) -> None:
    """dy/dt = -30 y in steps of 1/12, of which torchdiffeq makes 75,935 with a warning."""
    stiff = Solver(name, n_steps=12, rtol=1e-6, atol=1e-6)
    t = torch.tensor([0.0, 1.0], dtype=FLOAT64)
    with pytest.raises(SolveFailed, match="corrector did not converge"):
        integrate(lambda t, y: -30 * y, torch.ones(1, dtype=FLOAT64), t, stiff)


@pytest.mark.parametrize("name", ["rk4", "explicit_adams", "implicit_adams", "scipy"])
def test_what_is_not_finite_is_no_solution(name: str) -> None:
    """Solvers without an estimate of the error would carry nan to the end without a word."""
    y0, t = torch.ones(1, dtype=FLOAT64), torch.tensor([0.0, 0.4, 1.0], dtype=FLOAT64)
    with pytest.raises(SolveFailed) as caught:
        integrate(not_a_number, y0, t, solver(name, n_steps=5))
    assert 0 <= caught.value.t <= 1
