"""What every sensitivity method promises besides the gradient of an ordinary field."""

import math

import pytest
import torch
from torch import Tensor, nn

from node_cli.ode.failures import SolveFailed
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work
from tests.ode.problems import (
    FLOAT64,
    MLP,
    every_method,
    gradients,
    loss_of,
    relative,
    start,
    theta_gradient,
    times,
)

both_solvers = pytest.mark.parametrize(
    "solver", [Solver("rk4", n_steps=16), Solver("dopri5", rtol=1e-8, atol=1e-8)], ids=str
)

T = times(0.0, 0.4, 1.0)
RK4 = Solver("rk4", n_steps=16)


@both_solvers
@every_method
def test_frozen_parameters_get_no_gradient(sensitivity: Sensitivity, solver: Solver) -> None:
    """And the others get the one that they would have otherwise."""
    field, whole = MLP(), MLP()
    field.net[2].weight.requires_grad_(False)
    for f in (field, whole):
        loss_of(sensitivity(f, start(), T, solver, Work())).backward()
    assert field.net[2].weight.grad is None
    for got, expected in ((field.net[0], whole.net[0]), (field.net[2], whole.net[2])):
        assert relative(got.bias.grad, expected.bias.grad) < 1e-6


class Tied(nn.Module):
    """Two layers with one weight, one of them registered under two names."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first, self.second = (nn.Linear(3, 3, bias=False).double() for _ in range(2))
        with torch.no_grad():
            for layer in (self.first, self.second):
                layer.weight.copy_(torch.randn(3, 3, dtype=FLOAT64, generator=generator))
            self.second.weight.copy_(self.first.weight)
        if tied:
            self.second.weight = self.first.weight
            self.alias = self.first

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.second(self.first(y).tanh()) * torch.cos(t)


@both_solvers
@every_method
def test_a_tied_parameter_gets_the_sum_of_its_uses(
    sensitivity: Sensitivity, solver: Solver
) -> None:
    tied, free = Tied(True), Tied(False)
    for field in (tied, free):
        loss_of(sensitivity(field, start(), T, solver, Work())).backward()
    assert len(list(tied.parameters())) == 1
    total = free.first.weight.grad + free.second.weight.grad
    assert relative(tied.first.weight.grad, total) < 1e-6


@every_method
def test_a_constant_start(sensitivity: Sensitivity) -> None:
    """y0 does not require a gradient: that of theta is the same."""
    field, reference = MLP(), MLP()
    loss_of(sensitivity(field, start().detach(), T, RK4, Work())).backward()
    loss_of(sensitivity(reference, start(), T, RK4, Work())).backward()
    assert torch.equal(theta_gradient(field), theta_gradient(reference))


@every_method
def test_times_that_need_no_gradient_change_nothing_else(sensitivity: Sensitivity) -> None:
    work, with_time = Work(), Work()
    field, y0 = MLP(), start()
    loss_of(sensitivity(field, y0, T, RK4, work)).backward()
    theta, d_y0, d_t = gradients(sensitivity, MLP(), T, RK4, with_time)
    torch.testing.assert_close(theta_gradient(field), theta, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(y0.grad, d_y0, rtol=1e-13, atol=1e-13)
    assert d_t.abs().min() > 0
    assert T.grad is None
    assert work.vjps_backward == with_time.vjps_backward


@every_method
def test_where_no_gradient_is_wanted_none_is_prepared(sensitivity: Sensitivity) -> None:
    field, frozen = MLP(), MLP().requires_grad_(False)
    y = sensitivity(frozen, start().detach(), T, RK4, Work())
    assert not y.requires_grad
    with torch.no_grad():
        assert not sensitivity(field, start(), T, RK4, Work()).requires_grad
    with torch.inference_mode():
        again = sensitivity(field, start(), T, RK4, Work())
    assert torch.equal(y, again)
    assert sensitivity(field, start(), T, RK4, Work()).requires_grad


class Clock(nn.Module):
    """dy/dt = cos t: no parameters, no dependence on y."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.cos(t).expand_as(y)


class Drift(nn.Module):
    """dy/dt = p cos t: nothing of y in it."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=FLOAT64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return (self.p * torch.cos(t)).expand_as(y)


class Decay(nn.Module):
    """dy/dt = -y, and a parameter that takes no part in it."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(2, dtype=FLOAT64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -y


class Identity(nn.Module):
    """dy/dt = y, the very tensor that was given."""

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y


@both_solvers
@every_method
def test_fields_that_leave_an_input_out(sensitivity: Sensitivity, solver: Solver) -> None:
    y0, t = start(), T.clone().requires_grad_()

    y = sensitivity(Clock(), y0, t, solver, Work())
    d_y0, d_t = torch.autograd.grad(y[-1].sum(), [y0, t])
    torch.testing.assert_close(d_y0, torch.ones_like(y0), rtol=0, atol=1e-12)
    expected = times(-y0.numel(), 0.0, y0.numel() * math.cos(1.0))
    torch.testing.assert_close(d_t, expected, rtol=0, atol=1e-4)

    field = Drift()
    y = sensitivity(field, y0, t, solver, Work())
    d_y0, d_p = torch.autograd.grad(y[-1].sum(), [y0, field.p])
    torch.testing.assert_close(d_y0, torch.ones_like(y0), rtol=0, atol=1e-12)
    torch.testing.assert_close(d_p, torch.full_like(d_p, 5 * math.sin(1.0)), rtol=1e-6, atol=0)

    decay = Decay()
    y = sensitivity(decay, y0, t, solver, Work())
    d_y0, d_unused = torch.autograd.grad(y[-1].sum(), [y0, decay.unused])
    torch.testing.assert_close(d_y0, torch.full_like(y0, math.exp(-1.0)), rtol=1e-5, atol=0)
    assert not d_unused.any()

    y = sensitivity(Identity(), y0, t, solver, Work())
    (d_y0,) = torch.autograd.grad(y[-1].sum(), y0)
    torch.testing.assert_close(d_y0, torch.full_like(y0, math.exp(1.0)), rtol=1e-5, atol=0)


@every_method
def test_a_loss_that_sees_only_the_start(sensitivity: Sensitivity) -> None:
    field, y0 = MLP(), start()
    y = sensitivity(field, y0, T, RK4, Work())
    y[0].sum().backward()
    assert torch.equal(y0.grad, torch.ones_like(y0))
    assert not theta_gradient(field).any()


@every_method
def test_no_second_derivatives(sensitivity: Sensitivity) -> None:
    y0 = start()
    y = sensitivity(MLP(), y0, T, RK4, Work())
    (gradient,) = torch.autograd.grad(y[-1].square().sum(), y0, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_discrete_with_torchdiffeq_has_second_derivatives() -> None:
    """Those of differences of the first ones."""
    solver, field = Solver("rk4", n_steps=4, engine="torchdiffeq"), MLP()

    def first(y0: Tensor) -> Tensor:
        y = Discrete()(field, y0, T, solver, Work())
        return torch.autograd.grad(y[-1].square().sum(), y0, create_graph=True)[0]

    y0, direction = start(), start(9).detach()
    (second,) = torch.autograd.grad((first(y0) * direction).sum(), y0)
    h = 1e-5 * direction
    differences = (
        first((y0 + h).detach().requires_grad_()) - first((y0 - h).detach().requires_grad_())
    ) / 2e-5
    assert relative(second, differences.detach()) < 1e-7


@every_method
def test_a_second_backward_pass(sensitivity: Sensitivity) -> None:
    """Repeats the first with retain_graph, to the last bit, and a third one does."""
    y0, field, work, t = start(), MLP(), Work(), T.clone().requires_grad_()
    loss = loss_of(sensitivity(field, y0, t, RK4, work))
    inputs = [y0, t, *field.parameters()]
    once = torch.autograd.grad(loss, inputs, retain_graph=True)
    before = work.nfe_backward
    for retain in (True, False):
        for a, b in zip(once, torch.autograd.grad(loss, inputs, retain_graph=retain), strict=True):
            assert torch.equal(a, b)
    assert work.nfe_backward == before + 2 * (before or work.nfe_forward)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@every_method
def test_gradcheck_and_jacobian(sensitivity: Sensitivity) -> None:
    """Those of torch, which go backwards through one solve many times."""
    field, solver = MLP(), Solver("tsit5", rtol=1e-10, atol=1e-10)

    def end(y0: Tensor) -> Tensor:
        return sensitivity(field, y0, T, solver, Work())[-1]

    y0 = start()[:1].detach().requires_grad_()
    assert torch.autograd.gradcheck(end, (y0,), nondet_tol=1e-7, atol=1e-5)
    jacobian = torch.autograd.functional.jacobian(end, y0.detach())
    expected = [torch.autograd.grad(end(y0)[0, i], y0)[0] for i in range(3)]
    torch.testing.assert_close(jacobian[0], torch.stack(expected))


@pytest.mark.parametrize("what", ["start", "result", "parameter"])
@every_method
def test_what_the_gradient_rests_on_must_not_change(sensitivity: Sensitivity, what: str) -> None:
    """In place, between the forward and the backward pass: an error, not a wrong gradient."""
    field, y0 = MLP(), start().detach().clone()
    y = sensitivity(field, y0, T, RK4, Work())
    loss = y.sum()
    with torch.no_grad():
        changed = {"start": y0, "result": y, "parameter": field.net[0].weight}[what]
        changed.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@every_method
def test_the_result_does_not_share_memory_with_the_start(sensitivity: Sensitivity) -> None:
    y0 = start().detach()
    before = y0.clone()
    y = sensitivity(MLP(), y0, T, RK4, Work())
    assert torch.equal(y[0], y0)
    with torch.no_grad():
        y.zero_()
    assert torch.equal(y0, before)


@every_method
def test_a_forward_solve_that_fails_leaves_the_field_usable(sensitivity: Sensitivity) -> None:
    field = MLP()
    with pytest.raises(SolveFailed):
        sensitivity(field, start(), T, Solver("rk4", n_steps=4, max_nfe=3), Work())
    loss_of(sensitivity(field, start(), T, RK4, Work())).backward()
    assert theta_gradient(field).isfinite().all()
