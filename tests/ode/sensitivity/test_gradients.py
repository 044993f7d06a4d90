"""Gradients: against closed forms, autograd through torchdiffeq, differences, and each other."""

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Checkpointed, Discrete
from node_cli.ode.sensitivity.gauss import Gauss
from node_cli.ode.sensitivity.interpolating import Interpolating
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import METHODS, Solver
from node_cli.ode.work import Work
from tests.ode.problems import (
    ADAPTIVE,
    CONTINUOUS,
    FIXED,
    FLOAT64,
    MLP,
    RUNGE_KUTTA,
    SENSITIVITIES,
    Linear,
    gradients,
    loss_of,
    name_of,
    relative,
    start,
    times,
    worst,
)

FORWARD, BACKWARD = times(0.0, 0.4, 1.0), times(1.0, 0.4, 0.0)
DIRECTIONS = pytest.mark.parametrize("t", [FORWARD, BACKWARD], ids=["forward", "backward"])

# Another method in torchdiffeq: its pairs go on from a stage that is not f(t1, y1).
SHARED = [name for name in RUNGE_KUTTA if name not in ("adaptive_heun", "fehlberg2")]


def solver(name: str, tol: float = 1e-4, n: int = 6, **options: object) -> Solver:
    """With torchdiffeq's step control."""
    if name in FIXED:
        return Solver(name, n_steps=n, **options)
    return Solver(name, rtol=tol, atol=tol, controller="integral", **options)


@DIRECTIONS
@pytest.mark.parametrize("sensitivity", SENSITIVITIES, ids=name_of)
def test_against_the_matrix_exponential(sensitivity: Sensitivity, t: Tensor) -> None:
    """dL/dtheta, dL/dy0 and dL/dt of a linear field, for a loss that sees three times."""
    field = Linear()

    def closed_form(_: nn.Module, y0: Tensor, t: Tensor, *__: object) -> Tensor:
        return torch.stack([y0 @ torch.matrix_exp(field.a * (s - t[0])).T for s in t])

    name = "dopri8" if isinstance(sensitivity, Discrete | Checkpointed | Backsolve) else "tsit5"
    ours = gradients(sensitivity, field, t, Solver(name, rtol=1e-11, atol=1e-11))
    theirs = gradients(closed_form, field, t, Solver("euler", n_steps=1))
    assert worst(ours, theirs) < 1e-9


@DIRECTIONS
@pytest.mark.parametrize("name", SHARED)
def test_discrete_is_autograd_through_our_torchdiffeq(name: str, t: Tensor) -> None:
    """The same gradients by every t too, from the same steps: of a fixed grid, and of chosen ones.

    A tight tolerance lets the rounding of the step sizes, which differ in the last bits, through.
    """
    for first_step in (None, 0.05):
        options = {} if name in FIXED else {"first_step": first_step}
        ours, theirs = (
            gradients(Discrete(), MLP(), t, solver(name, engine=engine, **options))
            for engine in ("native", "torchdiffeq")
        )
        assert worst(ours, theirs) < 1e-10


@pytest.mark.parametrize("name", [n for n in SHARED if n != "tsit5"])
def test_discrete_is_autograd_through_torchdiffeq_itself(name: str) -> None:
    """Made to land by step_t, its first step a constant; or its grid points given to it.

    Its adaptive dL/dt goes through the interpolation from a last step that happens to be no longer,
    and is some 1e-6 off.
    """
    t, grid = FORWARD[[0, 2]], torch.linspace(0, 1, 7, dtype=FLOAT64)

    def theirs(field: nn.Module, y0: Tensor, t: Tensor, *_: object) -> Tensor:
        options = (
            {"grid_constructor": lambda f, y0, t: t[0] + (t[1] - t[0]) * grid}
            if name in FIXED
            else {"first_step": 0.05, "step_t": t[1:].detach()}
        )
        return torchdiffeq.odeint(field, y0, t, rtol=1e-5, atol=1e-5, method=name, options=options)

    options = {} if name in FIXED else {"first_step": 0.05}
    ours = gradients(Discrete(), MLP(), t, solver(name, 1e-5, **options))
    reference = gradients(theirs, MLP(), t, solver(name))
    compared = 3 if name in FIXED else 2
    assert worst(ours[:compared], reference[:compared]) < 1e-10


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
@DIRECTIONS
@pytest.mark.parametrize("name", RUNGE_KUTTA)
def test_checkpointed_is_discrete_to_the_last_bit(name: str, t: Tensor, dtype: torch.dtype) -> None:
    def found(sensitivity: Sensitivity) -> list[Tensor]:
        field, y0 = MLP().to(dtype), start().detach().to(dtype).requires_grad_()
        moments = t.clone().requires_grad_()
        y = sensitivity(field, y0, moments, solver(name), Work())
        return [y, *torch.autograd.grad(loss_of(y), [y0, moments, *field.parameters()])]

    for a, b in zip(found(Checkpointed()), found(Discrete()), strict=True):
        assert torch.equal(a, b)
        assert a.abs().max() > 0


@DIRECTIONS
@pytest.mark.parametrize("name", ["rk4", "bosh3", "dopri5", "tsit5"])
@pytest.mark.parametrize("sensitivity", CONTINUOUS, ids=name_of)
def test_the_adjoint_methods_converge_to_discrete(
    sensitivity: Sensitivity, name: str, t: Tensor
) -> None:
    """Both converge to the gradient of the ODE as the tolerances, or the steps, get smaller."""
    field, errors = MLP(), []
    for tol, n in ((1e-4, 8), (1e-6, 24), (1e-8, 72)):
        pair = [gradients(s, field, t, solver(name, tol, n)) for s in (sensitivity, Discrete())]
        errors.append(worst(*pair))
    assert errors[0] < 1e-2
    assert errors[2] < min(1e-6, errors[0] / 10)


@pytest.mark.parametrize("sensitivity", CONTINUOUS, ids=name_of)
def test_dopri8_at_a_tight_tolerance(sensitivity: Sensitivity) -> None:
    """What interpolates y over its long steps follows the tolerance too."""
    tight = gradients(Discrete(), MLP(), FORWARD, solver("dopri8", 1e-12))
    error = worst(gradients(sensitivity, MLP(), FORWARD, solver("dopri8", 1e-10)), tight)
    assert error < 1e-9


class VanDerPol(nn.Module):
    """dx/dt = v, dv/dt = mu (1 - x^2) v - x."""

    def __init__(self, mu: float) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.tensor(mu, dtype=FLOAT64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x, v = y
        return torch.stack([v, self.mu * (1 - x**2) * v - x])


def d_mu(sensitivity: Sensitivity, solver: Solver) -> float:
    """d x(10) / d mu at mu = 1."""
    field = VanDerPol(1.0)
    y = sensitivity(field, times(2.0, 0.0), times(0.0, 10.0), solver, Work())
    return float(torch.autograd.grad(y[-1, 0], field.mu)[0])


@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize("sensitivity", [Interpolating(), Gauss()], ids=name_of)
def test_interpolation_does_not_spoil_the_method(sensitivity: Sensitivity, name: str) -> None:
    """Against the tolerance, the error of the gradient falls as fast as that of discrete."""
    exact = d_mu(Discrete(), Solver("dopri8", rtol=1e-13, atol=1e-13))
    order = METHODS[name].order
    assert order is not None
    tolerances = (1e-2, 1e-3, 1e-4) if order < 4 else (1e-4, 1e-6, 1e-8)
    if name == "fehlberg2":  # whose estimate of the error is small
        tolerances = (1e-4, 1e-5, 1e-6)
    ours, discrete = [], []
    for tol in tolerances:
        for found, method in ((ours, sensitivity), (discrete, Discrete())):
            found.append(abs(d_mu(method, Solver(name, rtol=tol, atol=tol)) - exact))
    # Errors change their sign: each is compared with what the looser tolerances allow.
    for error, tol in zip(ours, tolerances, strict=True):
        assert error < 10 * max(discrete) * (tol / tolerances[0]) ** 0.8, (ours, discrete)


@pytest.mark.parametrize("norm", ["full", "seminorm"])
def test_backsolve_is_odeint_adjoint(norm: str) -> None:
    """torchdiffeq's adjoint, landing in both passes, takes the same steps to the same gradient.

    An autonomous field: torchdiffeq lets the gradient by the time into its norms, wanted or not.
    """
    field, t, work = Linear(), FORWARD[[0, 2]], Work()
    calls = 0

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.field = field

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return self.field(t, y)

    def theirs(_: nn.Module, y0: Tensor, t: Tensor, *__: object) -> Tensor:
        backward = {"step_t": -t[:-1].detach()}  # their time increases backwards
        if norm == "seminorm":
            backward["norm"] = "seminorm"
        return torchdiffeq.odeint_adjoint(
            Counting(),
            y0,
            t.detach(),
            rtol=1e-5,
            atol=1e-5,
            method="dopri5",
            options={"step_t": t[1:].detach()},
            adjoint_options=backward,
        )

    def both(sensitivity: Sensitivity) -> list[Tensor]:
        y0 = start()
        y = sensitivity(field, y0, t, solver("dopri5", 1e-5), work)
        return torch.autograd.grad(y[-1].square().sum(), [y0, *field.parameters()])

    for got, expected in zip(both(Backsolve(norm)), both(theirs), strict=True):
        assert relative(got, expected) < 1e-9
    assert calls == work.nfe_forward + work.nfe_backward


@DIRECTIONS
@pytest.mark.parametrize(
    "sensitivity",
    [Discrete(), Checkpointed(), Backsolve(), Interpolating(), Gauss()],
    ids=name_of,
)
def test_against_finite_differences(sensitivity: Sensitivity, t: Tensor) -> None:
    """Along one direction in theta, y0 and t at once."""
    precise, field = Solver("tsit5", rtol=1e-10, atol=1e-10), MLP()
    found = gradients(sensitivity, field, t, precise)
    torch.manual_seed(5)
    direction = [torch.randn_like(g) for g in found]
    theta = nn.utils.parameters_to_vector(field.parameters()).detach()

    @torch.no_grad()
    def loss(step: float) -> float:
        nn.utils.vector_to_parameters(theta + step * direction[0], field.parameters())
        y0, moved = start() + step * direction[1], t + step * direction[2]
        return float(loss_of(Discrete()(field, y0, moved, precise, Work())))

    slope = (loss(1e-4) - loss(-1e-4)) / 2e-4
    ours = sum(float((g * d).sum()) for g, d in zip(found, direction, strict=True))
    assert ours == pytest.approx(slope, rel=1e-6)


def test_the_initial_step_is_not_differentiated() -> None:
    """The gradient is that with the same first step given as a constant."""
    sizes: list[float] = []

    class Spy(MLP):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            sizes.append(float(t.detach()))
            return super().forward(t, y)

    found = gradients(Discrete(), Spy(), FORWARD, solver("dopri5"))
    first_step = (sizes[2] - sizes[0]) * 5  # after f(t0) and the heuristic comes c = 1/5
    again = gradients(Discrete(), MLP(), FORWARD, solver("dopri5", first_step=first_step))
    assert worst(found, again) < 1e-12
