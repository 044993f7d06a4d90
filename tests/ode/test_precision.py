"""Sensitivity methods in float32 and under autocast, against float64."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work
from tests.ode.problems import (
    MLP,
    every_method,
    gradients,
    loss_of,
    relative,
    start,
    times,
    worst,
)

SOLVERS = [Solver("rk4", n_steps=8), Solver("dopri5", rtol=1e-3, atol=1e-3)]
T = times(0.0, 0.4, 1.0)


class Spy(nn.Module):
    """Notes in which precision it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.field = MLP().float()
        self.inputs: set[torch.dtype] = set()
        self.outputs: set[torch.dtype] = set()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy = self.field(t, y)
        self.inputs |= {t.dtype, y.dtype}
        self.outputs.add(dy.dtype)
        return dy


def found(field: nn.Module, sensitivity: Sensitivity, solver: Solver, autocast: bool) -> list:
    y0 = start().detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        y = sensitivity(field, y0, T, solver, Work())
    loss = loss_of(y)
    return [y, *torch.autograd.grad(loss, [*field.parameters(), y0])]


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@every_method
def test_float32_gradients_are_close_to_those_of_float64(
    sensitivity: Sensitivity, solver: Solver
) -> None:
    _, *theta, d_y0 = found(Spy(), sensitivity, solver, False)
    assert {g.dtype for g in theta} == {torch.float32} == {d_y0.dtype}
    flat = torch.cat([g.flatten() for g in theta]).double()
    expected = gradients(sensitivity, MLP(), T, solver)[:2]
    assert worst((flat, d_y0.double()), expected) < 1e-5


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@every_method
def test_autocast_concerns_the_field_alone(sensitivity: Sensitivity, solver: Solver) -> None:
    """bf16 inside f, forward and backward, though the backward pass runs outside the block;
    state, result and gradients in float32, the latter close to those without autocast."""
    spy = Spy()
    cast = found(spy, sensitivity, solver, True)
    assert spy.outputs == {torch.bfloat16}
    assert spy.inputs == {torch.float32}
    full = found(Spy(), sensitivity, solver, False)
    for got, expected in zip(cast, full, strict=True):
        assert got.dtype == torch.float32
        assert 1e-5 < relative(got.detach(), expected.detach()) < 0.05


class Casts(TorchDispatchMode):
    """Counts how often a matrix is cast to bf16."""

    def __init__(self) -> None:
        super().__init__()
        self.matrices: dict[torch.Size, int] = {}

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default and kwargs.get("dtype") == torch.bfloat16:
            shape = args[0].shape
            self.matrices[shape] = self.matrices.get(shape, 0) + 1
        return func(*args, **kwargs)


@every_method
def test_autocast_casts_a_weight_once_a_pass(sensitivity: Sensitivity) -> None:
    """Not once an evaluation: the autocast that keeps it is around the whole of the solve."""
    field = MLP().float()
    y0 = start().detach().float()
    with Casts() as casts:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = sensitivity(field, y0, T, Solver("rk4", n_steps=16), Work())
        loss_of(y).backward()
    weights = {p.shape for p in field.parameters() if p.ndim == 2}
    assert {shape: casts.matrices[shape] for shape in weights} == dict.fromkeys(
        weights, 1 if sensitivity.keeps == "stages" else 2
    )
