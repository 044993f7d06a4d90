"""``jump_t``: where f jumps, the solve lands and begins anew, on its own side of f."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.jumps import pieces
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.gauss import Gauss
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import METHODS, Engine, Solver
from node_cli.ode.work import Work
from tests.folders import rows
from tests.ode.problems import FIXED, every_method, times
from tests.runs import run

Configure = Callable[..., Config]
JUMP = 0.3


class Switched(nn.Module):
    """dy/dt = p y before the jump, -2 p y after it, and undefined at the jump itself."""

    def __init__(self, jump: float = JUMP) -> None:
        super().__init__()
        self.p = nn.Parameter(times(0.7))
        self.jump = jump

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        factor = torch.where(t < self.jump, 1.0, -2.0).to(y)
        return torch.where(t == self.jump, math.nan, factor * self.p * y)

    def exact(self, y0: Tensor, t: Tensor) -> Tensor:
        late = t > self.jump if t.max() == self.jump else t >= self.jump
        past = torch.where(late, self.jump + 2 * (self.jump - t), t)
        return torch.exp(self.p * (past - past[0]))[:, None] * y0


TIMES = {
    "across": times(0.0, 1.0),
    "requested at the jump": times(0.0, 0.1, JUMP, 0.4, 1.0),
    "backwards": times(1.0, 0.1),
    "from the jump": times(JUMP, 1.0),
    "to the jump": times(0.0, JUMP),
    "backwards from the jump": times(JUMP, 0.0),
    "before the jump": times(0.0, 0.2),
}


@pytest.mark.parametrize("t", TIMES.values(), ids=TIMES)
@every_method
def test_gradients_against_the_closed_form(sensitivity: Sensitivity, t: Tensor) -> None:
    t = t.clone().requires_grad_(JUMP not in t[1:-1].tolist())
    inputs, found = [], []
    solver = Solver("tsit5", rtol=1e-9, atol=1e-9, jump_t=(7.0, JUMP, -1.0))
    for exact in (False, True):
        field, y0 = Switched(), times(1.0, 2.0).requires_grad_()
        y = field.exact(y0, t) if exact else sensitivity(field, y0, t, solver, Work())
        inputs = [y0, field.p, *([t] if t.requires_grad else [])]
        weights = torch.arange(1.0, y.numel() + 1).view_as(y)
        found.append([y.detach(), *torch.autograd.grad((weights * y).sum(), inputs)])
    for ours, right in zip(*found, strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-6, atol=1e-7)


def error(name: str, n: int, engine: Engine, jumps: tuple[float, ...] | None) -> float:
    field = Switched(0.31415 if jumps is None else JUMP)  # on no step
    t, y0 = times(0.0, 1.0), times(1.0)
    solver = Solver(name, n_steps=n, jump_t=jumps, engine=engine)
    y = Discrete()(field, y0, t, solver, Work())
    return float((y - field.exact(y0, t))[-1].detach().abs())


@pytest.mark.parametrize(
    ("name", "engine"), [*((n, "native") for n in FIXED), ("rk4", "torchdiffeq")]
)
def test_the_order_of_the_method_holds_across_the_jump(name: str, engine: Engine) -> None:
    """Without jump_t it is 1 at best."""
    order = METHODS[name].order
    assert order is not None
    with_jumps = [error(name, n, engine, (JUMP,)) for n in (8, 16)]
    assert math.log2(with_jumps[0] / with_jumps[1]) > order - 0.3
    if order > 1:
        assert error(name, 200, engine, None) > 10 * error(name, 100, engine, (JUMP,))


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.kind == "adaptive"])
@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
def test_fewer_evaluations_for_a_smaller_error(name: str, engine: Engine) -> None:
    nfe, errors = [], []
    for jumps in ((JUMP,), None):
        field, work, t = Switched(JUMP if jumps else 0.31415), Work(), times(0.0, 1.0)
        solver = Solver(name, rtol=1e-6, atol=1e-6, jump_t=jumps, engine=engine)
        y = Discrete()(field, times(1.0), t, solver, work)
        errors.append(float((y - field.exact(times(1.0), t))[-1].detach().abs()))
        nfe.append(work.nfe_forward)
    assert nfe[0] < nfe[1]
    assert errors[0] < 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"name": "implicit_adams", "n_steps": 20, "rtol": 1e-6, "atol": 1e-6},
        {"name": "explicit_adams", "n_steps": 200},
        {"name": "scipy", "rtol": 1e-6, "atol": 1e-6, "scipy_method": "LSODA"},
    ],
    ids=lambda options: options["name"],
)
def test_every_other_solver_too(options: dict[str, object]) -> None:
    field, t, y0 = Switched(), times(0.0, 1.0), times(1.0).requires_grad_()
    solver = Solver(**options, jump_t=(JUMP,))  # type: ignore[arg-type]
    backward = Solver("dopri5", rtol=1e-6, atol=1e-6)
    y = Backsolve(solver=backward)(field, y0, t, solver, Work())
    torch.testing.assert_close(y, field.exact(y0, t), rtol=2e-3, atol=0)
    gradient, right = (torch.autograd.grad(x[-1].sum(), y0)[0] for x in (y, field.exact(y0, t)))
    torch.testing.assert_close(gradient, right, rtol=2e-3, atol=0)


def test_times_of_float32_meet_the_jump_that_they_round_to() -> None:
    field, y0 = Switched(float(torch.tensor(JUMP))).float(), torch.ones(1)
    t = torch.tensor([0.0, JUMP, 1.0])
    solver = Solver("dopri5", rtol=1e-5, atol=1e-5, jump_t=(JUMP,))
    y = Discrete()(field, y0, t, solver, Work())
    torch.testing.assert_close(y, field.exact(y0, t), rtol=1e-4, atol=0)


def test_a_derivative_that_does_not_exist() -> None:
    t = times(0.0, JUMP, 1.0).requires_grad_()
    with pytest.raises(ValueError, match=r"dL/dt is not defined at t=0.3, where f jumps"):
        pieces(t, [JUMP])
    assert len(pieces(t[[0, 2]], [JUMP])) == 2


def test_no_jump_within_changes_nothing() -> None:
    found = []
    for jumps in (None, (5.0,)):
        y = Gauss()(
            Switched(5.0),
            times(1.0),
            times(0.0, 1.0),
            Solver("dopri5", 1e-3, 1e-3, jump_t=jumps),
            Work(),
        )
        found.append(y)
    assert torch.equal(*found)


@pytest.mark.slow
@pytest.mark.parametrize("sensitivity", [Discrete(), Backsolve()])
def test_compiled_loops(sensitivity: Sensitivity) -> None:
    solver, found = Solver("dopri5", rtol=1e-6, atol=1e-6, jump_t=(JUMP,)), []
    for compiles in (False, True):
        field, y0, work = Switched(), times(1.0, 2.0).requires_grad_(), Work()
        called = CompiledField(field) if compiles else field
        for _ in range(2):
            y = sensitivity(called, y0, times(0.0, JUMP, 1.0), solver, work)
            gradients = torch.autograd.grad(y.sum(), [y0, field.p])
        found.append(([y.detach(), *gradients], work))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_the_key(configure: Configure, tmp_path: Path) -> None:
    config = configure("solver.jump_t=[0.5,0.25]", "data.limit=100", "epochs=1")
    assert config.forward_solver().jump_t == (0.5, 0.25)
    folder = run(config, tmp_path / "run")
    whole = run(configure("data.limit=100", "epochs=1"), tmp_path / "whole")
    assert int(rows(folder.steps)[0]["accepted_forward"]) == 6
    assert float(rows(folder.steps)[0]["loss"]) == pytest.approx(
        float(rows(whole.steps)[0]["loss"]), rel=1e-4
    )
    for wrong, words in (
        ("[0.5,0.5]", "there twice"),
        ("[nan]", "finite"),
        ("[]", "at least 1"),
        ("0.5", "list"),
    ):
        with pytest.raises(UserError, match=words):
            configure(f"solver.jump_t={wrong}")
