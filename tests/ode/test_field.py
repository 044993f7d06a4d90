"""Fields with a state of their own (BatchNorm), and modules called as functions of it."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from node_cli.ode.field import FunctionalCall, untouched_buffers
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Engine, Solver
from node_cli.ode.work import Work
from tests.ode.problems import FLOAT64, ONE_OF_EACH, every_method, loss_of, solve, times

T = times(0.0, 0.4, 1.0)
ADAPTIVE = Solver("dopri5", rtol=1e-4, atol=1e-4)
REJECTING = Solver("dopri5", rtol=1e-7, atol=1e-7, first_step=0.4)
FIXED = Solver("rk4", n_steps=3)


class Normalised(nn.Module):
    """BatchNorm in the field; with ``alias`` one of its modules has a second name."""

    def __init__(self, alias: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.layer = nn.Linear(3, 3).double()
        with torch.no_grad():
            for parameter in self.layer.parameters():
                parameter.normal_(generator=generator)
        self.norm = nn.BatchNorm1d(3).double()
        if alias:
            self.again = self.norm

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.norm(self.layer(y)).tanh() * torch.cos(3 * t)


def samples() -> Tensor:
    generator = torch.Generator().manual_seed(6)
    return torch.randn(8, 3, dtype=FLOAT64, generator=generator).requires_grad_()


def buffers(module: nn.Module) -> list[Tensor]:
    return [b.clone() for b in module.buffers()]


@pytest.mark.parametrize("solver", [ADAPTIVE, REJECTING, FIXED], ids=str)
@every_method
def test_buffers_see_every_forward_evaluation_and_no_backward_one(
    sensitivity: Sensitivity, solver: Solver
) -> None:
    """Rejected steps and the initial-step heuristic included, each once."""
    field, work, y0 = Normalised(), Work(), samples()
    y = sensitivity(field, y0, T, solver, work)
    after = buffers(field)
    assert int(field.norm.num_batches_tracked) == work.nfe_forward > 6
    assert work.forward.rejected or solver is not REJECTING
    loss_of(y).backward()
    assert field.layer.weight.grad.abs().sum() > 0
    for before, buffer in zip(after, field.buffers(), strict=True):
        assert torch.equal(before, buffer)


@pytest.mark.parametrize("solver", [ADAPTIVE, FIXED], ids=str)
def test_buffers_are_the_same_for_all_methods_and_engines(solver: Solver) -> None:
    """Interpolating and gauss may need one evaluation more: f at the end, for the dense output."""
    found = []
    for engine in ("native", "torchdiffeq"):
        for sensitivity in ONE_OF_EACH.values():
            if engine == "torchdiffeq" and not isinstance(sensitivity, Discrete | Backsolve):
                continue
            field, work = Normalised(), Work()
            other = Solver(**{**vars(solver), "engine": engine})
            loss_of(sensitivity(field, samples(), T, other, work)).backward()
            found.append((work.nfe_forward, buffers(field)))
    usual = found[0][0]
    assert {nfe for nfe, _ in found} <= {usual, usual + 1}
    if solver is ADAPTIVE:  # dopri5 ends a step with that evaluation
        assert {nfe for nfe, _ in found} == {usual}
    for nfe, values in found:
        if nfe == usual:
            for value, expected in zip(values, found[0][1], strict=True):
                torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)


@every_method
def test_gradients_with_batch_statistics_are_those_of_autograd(sensitivity: Sensitivity) -> None:
    """In training mode f couples the samples; recomputed stages use the batch's statistics too."""
    solver = Solver("rk4", n_steps=32)
    ours, reference = Normalised(), Normalised()
    loss_of(sensitivity(ours, samples(), T, solver, Work())).backward()
    exact = Solver("rk4", n_steps=32, engine="torchdiffeq")
    loss_of(Discrete()(reference, samples(), T, exact, Work())).backward()
    for p, q in zip(ours.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)


@every_method
def test_evaluation_mode_leaves_buffers_alone(sensitivity: Sensitivity) -> None:
    field = Normalised().eval()
    before = buffers(field)
    loss_of(sensitivity(field, samples(), T, FIXED, Work())).backward()
    for buffer, value in zip(field.buffers(), before, strict=True):
        assert torch.equal(buffer, value)


def test_buffers_come_back_when_the_backward_pass_fails() -> None:
    field = Normalised()
    method = Backsolve(solver=Solver("dopri5", rtol=1e-9, atol=1e-9, max_steps=3))
    y = method(field, samples(), T, FIXED, Work())
    before = buffers(field)
    with pytest.raises(RuntimeError, match="backward solve"):
        y.sum().backward()
    for buffer, value in zip(field.buffers(), before, strict=True):
        assert torch.equal(buffer, value)


@torch.no_grad()
def test_untouched_buffers_undoes_what_happens_inside() -> None:
    field = Normalised(alias=True)
    before, identities = buffers(field), [id(b) for b in field.buffers()]
    with untouched_buffers(field):
        field(torch.tensor(0.0), samples())
        assert int(field.norm.num_batches_tracked) == 1
    assert [id(b) for b in field.buffers()] == identities
    for buffer, value in zip(field.buffers(), before, strict=True):
        assert torch.equal(buffer, value)


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
@pytest.mark.parametrize("alias", [False, True])
def test_a_functional_call_equals_the_module(alias: bool, engine: Engine) -> None:
    """The same solution and buffers, which stay the same tensors, after any number of solves."""
    module, called = Normalised(alias), Normalised(alias)
    function = FunctionalCall(called)
    solver = Solver("dopri5", rtol=1e-5, atol=1e-5, engine=engine)
    y0, identities = samples().detach(), [id(b) for b in called.buffers()]
    for _ in range(2):
        plain, steps = solve(module, y0, T, solver)
        with function.solving(), torch.no_grad():
            functional, steps_again = solve(function, y0, T, solver)
        assert torch.equal(plain, functional)
        assert steps == steps_again
        for a, b in zip(module.buffers(), called.buffers(), strict=True):
            assert torch.equal(a, b)
    assert [id(b) for b in called.buffers()] == identities
    assert all(p is q for p, q in zip(function.parameters(), called.parameters(), strict=True))
    if alias:
        assert called.again is called.norm
        assert called.again.running_mean is called.norm.running_mean


@torch.no_grad()
def test_a_functional_call_commits_at_the_end_of_a_solve_alone() -> None:
    field, t, y = Normalised(), torch.tensor(0.0), samples()
    function = FunctionalCall(field)
    function(t, y)
    assert int(field.norm.num_batches_tracked) == 0
    with function.solving():
        function(t, y)
        function(t, y)
        assert int(field.norm.num_batches_tracked) == 0
    assert int(field.norm.num_batches_tracked) == 2
    with pytest.raises(TypeError), function.solving():
        function(t, None)
    assert int(field.norm.num_batches_tracked) == 2
    function(t, y)
    assert int(field.norm.num_batches_tracked) == 2


@pytest.mark.parametrize("alias", [False, True])
@every_method
def test_gradients_through_a_functional_call(sensitivity: Sensitivity, alias: bool) -> None:
    """Those of the module, to the last bit, and its parameters are found through it."""
    results = []
    for functional in (False, True):
        module = Normalised(alias)
        field = FunctionalCall(module) if functional else module
        y0 = samples()
        with field.solving() if functional else nullcontext():
            y = sensitivity(field, y0, T, FIXED, Work())
        loss_of(y).backward()
        results.append([y, y0.grad, *(p.grad for p in module.parameters()), *module.buffers()])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
