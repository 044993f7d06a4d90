"""Gradients: against closed forms, torchdiffeq, finite differences and each other."""

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from node_cli.ode.failures import SolveFailed
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.interface import Sensitivity
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work

FLOAT64 = torch.float64
FORWARD = torch.tensor([0.0, 0.4, 1.0], dtype=FLOAT64)
BACKWARD = FORWARD.flip(0)


class MLP(nn.Module):
    """A small non-linear field that sees the time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([y, t.expand(len(y), 1)], 1))


class Linear(nn.Module):
    """dy/dt = A y."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a = nn.Parameter(torch.randn(3, 3, dtype=FLOAT64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y @ self.a.T


def start() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(5, 3, dtype=FLOAT64, requires_grad=True)


def gradients(
    sensitivity: Sensitivity, field: nn.Module, t: Tensor, solver: Solver
) -> tuple[Tensor, Tensor, Tensor]:
    """dL/dtheta (flat), dL/dy0, dL/dt for a loss that sees every requested time."""
    y0, t = start(), t.clone().requires_grad_()
    y = sensitivity(field, y0, t, solver, Work())
    weights = torch.arange(1, y.numel() + 1, dtype=FLOAT64).view_as(y).sin()
    parameters = list(field.parameters())
    *theta, d_y0, d_t = torch.autograd.grad((weights * y).sum(), [*parameters, y0, t])
    return torch.cat([g.flatten() for g in theta]), d_y0, d_t


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("t", [FORWARD, BACKWARD])
@pytest.mark.parametrize("sensitivity", [Discrete(), Backsolve(), Backsolve("seminorm")])
def test_against_the_matrix_exponential(sensitivity: Sensitivity, t: Tensor) -> None:
    field = Linear()

    def closed_form(_: nn.Module, y0: Tensor, t: Tensor, *__: object) -> Tensor:
        return torch.stack([y0 @ torch.matrix_exp(field.a * (s - t[0])).T for s in t])

    ours = gradients(sensitivity, field, t, Solver("dopri8", rtol=1e-11, atol=1e-11))
    for got, expected in zip(ours, gradients(closed_form, field, t, ours), strict=True):
        assert relative(got, expected) < 1e-9


@pytest.mark.parametrize("t", [FORWARD, BACKWARD])
@pytest.mark.parametrize("name", ["dopri5", "tsit5", "bosh3", "rk4", "implicit_adams"])
def test_backsolve_converges_to_discrete(name: str, t: Tensor) -> None:
    """Both converge to the gradient of the ODE as the tolerances, or the steps, get smaller."""
    errors = []
    for tol, n in ((1e-4, 8), (1e-6, 32), (1e-8, 128)):
        steps = {"n_steps": n} if name in ("rk4", "implicit_adams") else {}
        tolerances = {} if name == "rk4" else {"rtol": tol, "atol": tol}
        order = {"max_order": 4} if name == "implicit_adams" else {}
        solver = Solver(name, **steps, **tolerances, **order)
        pairs = zip(
            gradients(Backsolve(), MLP(), t, solver),
            gradients(Discrete(), MLP(), t, solver),
            strict=True,
        )
        errors.append(max(relative(a, b) for a, b in pairs))
    assert errors[0] < 1e-2
    assert errors[2] < min(1e-6, errors[0])


@pytest.mark.parametrize("name", ["dopri5", "bosh3", "dopri8"])
def test_discrete_is_autograd_through_torchdiffeq(name: str) -> None:
    """With torchdiffeq landing too (step_t) and its first step a constant."""
    field, t = MLP(), FORWARD[[0, 2]]
    options = {"rtol": 1e-5, "atol": 1e-5, "first_step": 0.05}

    def theirs(field: nn.Module, y0: Tensor, t: Tensor, *_: object) -> Tensor:
        steps = {"first_step": 0.05, "step_t": t[1:].detach()}
        return torchdiffeq.odeint(field, y0, t, rtol=1e-5, atol=1e-5, method=name, options=steps)

    ours = gradients(Discrete(), field, t, Solver(name, **options))
    for got, expected in zip(ours[:2], gradients(theirs, field, t, ours)[:2], strict=True):
        assert relative(got, expected) < 1e-10


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
        y = sensitivity(field, y0, t, Solver("dopri5", rtol=1e-5, atol=1e-5), work)
        return torch.autograd.grad(y[-1].square().sum(), [y0, *field.parameters()])

    for got, expected in zip(both(Backsolve(norm)), both(theirs), strict=True):
        assert relative(got, expected) < 1e-9
    assert calls == work.nfe_forward + work.nfe_backward


@pytest.mark.parametrize("sensitivity", [Discrete(), Backsolve()])
def test_against_finite_differences(sensitivity: Sensitivity) -> None:
    field, solver = MLP(), Solver("dopri5", rtol=1e-9, atol=1e-9)
    theta, _, _ = gradients(sensitivity, field, FORWARD, solver)
    direction = torch.randn_like(theta)

    def loss(step: float) -> float:
        with torch.no_grad():
            moved = nn.utils.parameters_to_vector(field.parameters()) + step * direction
            probe = MLP()
            nn.utils.vector_to_parameters(moved, probe.parameters())
            y = Discrete()(probe, start(), FORWARD, solver, Work())
            weights = torch.arange(1, y.numel() + 1, dtype=FLOAT64).view_as(y).sin()
            return float((weights * y).sum())

    slope = (loss(1e-4) - loss(-1e-4)) / 2e-4
    assert float(theta @ direction) == pytest.approx(slope, rel=1e-6)


class Stateful(nn.Module):
    """A field with buffers: what BatchNorm does in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.norm(y).tanh()


@pytest.mark.parametrize("sensitivity", [Discrete(), Backsolve()])
def test_buffers_see_every_forward_evaluation_and_no_backward_one(sensitivity: Sensitivity) -> None:
    field, work = Stateful(), Work()
    y0 = torch.randn(8, 3, dtype=FLOAT64)
    t = torch.tensor([0.0, 1.0], dtype=FLOAT64)
    y = sensitivity(field, y0, t, Solver("dopri5", rtol=1e-4, atol=1e-4), work)
    counted = int(field.norm.num_batches_tracked)
    assert counted == work.nfe_forward
    mean = field.norm.running_mean.clone()
    y[-1].sum().backward()
    assert int(field.norm.num_batches_tracked) == counted
    assert torch.equal(field.norm.running_mean, mean)


@pytest.mark.parametrize("sensitivity", [Discrete(), Backsolve()])
def test_frozen_and_shared_parameters_and_a_constant_start(sensitivity: Sensitivity) -> None:
    field = MLP()
    field.net[2].bias.requires_grad_(False)
    field.alias = field.net[0]  # the same layer under a second name
    solver = Solver("dopri5", rtol=1e-8, atol=1e-8)
    y = sensitivity(field, start().detach(), FORWARD, solver, Work())
    y[-1].square().sum().backward()
    assert field.net[2].bias.grad is None
    reference = MLP()
    Discrete()(reference, start().detach(), FORWARD, solver, Work())[-1].square().sum().backward()
    assert relative(field.net[0].weight.grad, reference.net[0].weight.grad) < 1e-6


@pytest.mark.parametrize("sensitivity", [Discrete(), Backsolve()])
def test_a_field_without_dependence_on_the_state(sensitivity: Sensitivity) -> None:
    """dy/dt = cos t: the adjoint is constant."""

    class Clock(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return torch.cos(t).expand_as(y)

    y0 = start()
    y = sensitivity(Clock(), y0, FORWARD, Solver("rk4", n_steps=8), Work())
    (gradient,) = torch.autograd.grad(y[-1].sum(), y0)
    assert torch.equal(gradient, torch.ones_like(y0))


def test_second_derivatives() -> None:
    """Discrete has them; backsolve says that it has not."""
    y0, t, solver = start(), FORWARD, Solver("rk4", n_steps=4)
    y = Discrete()(MLP(), y0, t, solver, Work())
    (gradient,) = torch.autograd.grad(y[-1].square().sum(), y0, create_graph=True)
    assert torch.autograd.grad(gradient.sum(), y0)[0].isfinite().all()
    y = Backsolve()(MLP(), y0, t, solver, Work())
    (gradient,) = torch.autograd.grad(y[-1].square().sum(), y0, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("sensitivity", [Discrete(), Backsolve()])
def test_autocast_concerns_the_field_alone(sensitivity: Sensitivity) -> None:
    """bf16 inside f, forward and backward; state and result in float32."""
    seen: set[torch.dtype] = set()

    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            assert y.dtype == torch.float32
            dy = self.layer(y)
            seen.add(dy.dtype)
            return dy

    field, y0 = Spy(), torch.randn(5, 3, requires_grad=True)
    t = torch.tensor([0.0, 1.0], dtype=FLOAT64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = sensitivity(field, y0, t, Solver("rk4", n_steps=2), Work())
    y[-1].sum().backward()
    assert seen == {torch.bfloat16}
    assert y.dtype == y0.grad.dtype == field.layer.weight.grad.dtype == torch.float32


def test_a_failure_of_the_backward_solve_says_so() -> None:
    method = Backsolve(solver=Solver("dopri5", rtol=1e-9, atol=1e-9, max_steps=3))
    y = method(MLP(), start(), FORWARD, Solver("rk4", n_steps=5), Work())
    with pytest.raises(SolveFailed, match=r"^backward solve: 3 steps .*sensitivity=discr") as e:
        y.sum().backward()
    assert e.value.backward
    assert 0.4 < e.value.t < 1
