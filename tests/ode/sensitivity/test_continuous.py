"""What the methods promise that solve a system backwards."""

import math

import pytest
import torch
from torch import Tensor, nn

from node_cli.ode.failures import SolveFailed
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.gauss import Gauss
from node_cli.ode.sensitivity.interpolating import Interpolating
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work
from tests.ode.problems import FLOAT64, MLP, loss_of, relative, start, theta_gradient, times

T = times(0.0, 0.4, 1.0)


@pytest.mark.parametrize("solver", [Solver("dopri5", 1e-4, 1e-4), Solver("bosh3", 1e-4, 1e-4)])
@pytest.mark.parametrize("sensitivity", [Interpolating(), Interpolating("full"), Gauss()])
def test_the_scale_of_the_loss_changes_the_gradient_alone(
    sensitivity: Sensitivity, solver: Solver
) -> None:
    """Tolerances are relative to lambda, so neither steps nor relative errors depend on it; to the
    last bit, where the scale is a power of two."""
    found = {}
    for scale in (2.0**-40, 1.0, 2.0**10):
        field, y0, work = MLP(scale=2.0), start(), Work()
        (scale * loss_of(sensitivity(field, y0, T, solver, work))).backward()
        assert y0.grad is not None
        found[scale] = theta_gradient(field) / scale, y0.grad / scale, work.nfe_backward
    exact = MLP(scale=2.0)
    loss_of(Discrete()(exact, start(), T, Solver("dopri8", 1e-10, 1e-10), Work())).backward()
    assert relative(found[2.0**-40][0], theta_gradient(exact)) < 1e-2
    for theta, y0, nfe in found.values():
        assert torch.equal(theta, found[1.0][0])
        assert torch.equal(y0, found[1.0][1])
        assert nfe == found[1.0][2]


class Forced(nn.Module):
    """dy/dt = theta sin^2(20 t) - y / 10: df/dtheta oscillates, the adjoint only decays."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones((), dtype=FLOAT64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.theta * torch.sin(20 * t) ** 2 - 0.1 * y


@pytest.mark.parametrize("sensitivity", [Interpolating(), Interpolating("full"), Gauss()])
def test_what_the_adjoint_does_not_see(sensitivity: Sensitivity) -> None:
    """Steps that lambda alone would choose would miss the oscillation altogether."""
    errors = []
    c, s = math.cos(400), math.sin(400)
    decay = math.exp(-1)
    # int_0^10 exp((t - 10) / 10) sin^2(20 t) dt
    exact = 5 * (1 - decay) - (0.1 * (c - decay) + 40 * s) / (2 * (0.01 + 1600))
    for tol in (1e-5, 1e-7):
        field, y0 = Forced(), times(1.0)
        y = sensitivity(field, y0, times(0.0, 10.0), Solver("dopri5", tol, tol), Work())
        y[-1].sum().backward()
        assert field.theta.grad is not None
        errors.append(abs(float(field.theta.grad) - exact))
    assert errors[0] < 1e-3
    assert errors[1] < 1e-5


@pytest.mark.parametrize("sensitivity", [Interpolating(), Gauss()])
def test_time_that_was_left_over_does_not_make_the_next_intervals_dearer(
    sensitivity: Sensitivity,
) -> None:
    """A step is short where a requested time cuts it off; the next one need not be."""
    nfe = []
    for t in (times(0.0, 1.0, 2.0, 3.0), times(0.0, 1.0, 2.0, 3.0, 3.0 + 1e-9)):
        work = Work()
        y = sensitivity(MLP(), start(), t, Solver("dopri5", 1e-4, 1e-4), work)
        y[-1].sum().backward()
        nfe.append(work.nfe_backward)
    assert nfe[1] <= nfe[0] + 1 + 6 + 3  # one step of the one interval more, and its nodes


@pytest.mark.parametrize("sensitivity", [Interpolating(), Gauss()])
@pytest.mark.parametrize("scale", [1e-24, 1e24])
def test_losses_whose_squares_float32_does_not_hold(sensitivity: Sensitivity, scale: float) -> None:
    found = []
    for factor in (1.0, scale):
        field, y0 = MLP().float(), start().detach().float().requires_grad_()
        y = sensitivity(field, y0, T, Solver("dopri5", 1e-5, 1e-5), Work())
        (factor * y).sum().backward()
        found.append(theta_gradient(field).double() / factor)
    assert relative(found[1], found[0]) < 1e-4


@pytest.mark.parametrize("sensitivity", [Interpolating(), Gauss()])
def test_a_loss_that_does_not_depend_on_the_solution(sensitivity: Sensitivity) -> None:
    field, y0 = MLP(), start()
    (0.0 * sensitivity(field, y0, T, Solver("dopri5", 1e-3, 1e-3), Work())).sum().backward()
    assert torch.equal(theta_gradient(field), torch.zeros_like(theta_gradient(field)))
    assert torch.equal(y0.grad, torch.zeros_like(y0))


@pytest.mark.parametrize("sensitivity", [Backsolve, Interpolating, Gauss])
@pytest.mark.parametrize("limit", ["max_steps", "max_nfe"])
def test_a_failure_of_the_backward_solve_says_so(sensitivity: type[Backsolve], limit: str) -> None:
    method = sensitivity(solver=Solver("dopri5", rtol=1e-9, atol=1e-9, **{limit: 9}))
    y = method(MLP(scale=3.0), start(), T, Solver("rk4", n_steps=5), Work())
    with pytest.raises(SolveFailed, match=r"^backward solve: 9 .*sensitivity=discrete") as e:
        y.sum().backward()
    assert e.value.backward
    assert 0.4 <= e.value.t <= 1
    assert e.value.accepted is not None
    assert e.value.solver is method.solver
