"""Fields that do what they should not, or are called as functions: right, or one clear error."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from node_cli.models.blocks import ODEBlock
from node_cli.ode.engines.compiled.field import CompiledField
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Engine, Solver
from node_cli.ode.work import Work
from tests.ode.problems import FLOAT64, ONE_OF_EACH, Function, every_method, times

UNIT = times(0.0, 1.0)
TIGHT = Solver("dopri5", 1e-8, 1e-8)
TWO = torch.full((3,), 2.0, dtype=FLOAT64)
SOLVERS = [TIGHT, Solver("rk4", n_steps=40), Solver("tsit5", 1e-8, 1e-8)]
every_solver = pytest.mark.parametrize("solver", SOLVERS, ids=str)
both_engines = pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
no_grad_warning = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


class Called(nn.Module):
    """A function as a field."""

    def __init__(self, f: Function) -> None:
        super().__init__()
        self.f = f

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.f(t, y)


class Decay(nn.Module):
    """dy/dt = -a y / scale; ``scale``, a buffer, is 1."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(1.0, dtype=FLOAT64))
        self.register_buffer("scale", torch.tensor(1.0, dtype=FLOAT64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -self.a * y / self.scale


class Bare(Decay):
    """Without the buffer, so that it can be compiled."""

    def __init__(self) -> None:
        super().__init__()
        del self.scale
        self.scale = 1.0


@every_solver
@every_method
def test_other_parameters_than_the_modules_own(sensitivity: Sensitivity, solver: Solver) -> None:
    """torch.func.functional_call, with a leaf and with a function of one; a buffer too."""
    block = ODEBlock(Decay(), 0.0, 1.0, solver, sensitivity)
    for is_leaf in (True, False):
        leaf = torch.tensor(2.0, dtype=FLOAT64, requires_grad=True)
        a = leaf if is_leaf else 1.0 * leaf
        y0 = times(1.0).requires_grad_()
        given = {"field.a": a, "field.scale": times(2.0)[0]}
        y = torch.func.functional_call(block, given, (y0,))
        d_y0, d_a = torch.autograd.grad(y.sum(), [y0, leaf])
        assert float(y.detach()) == pytest.approx(math.exp(-1), abs=1e-6)
        assert float(d_y0) == pytest.approx(math.exp(-1), abs=1e-6)
        assert float(d_a) == pytest.approx(-math.exp(-1) / 2, abs=1e-6)
    assert block.field.a.grad is None
    assert float(block.field.scale) == 1.0


@no_grad_warning
@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize(
    "sensitivity",
    [
        pytest.param(method, id=name, marks=[pytest.mark.slow] * (name != "discrete"))
        for name, method in ONE_OF_EACH.items()
    ],
)
def test_other_parameters_where_solves_are_compiled(sensitivity: Sensitivity) -> None:
    block = ODEBlock(Bare(), 0.0, 1.0, TIGHT, sensitivity)
    block.compile_core(solves=True)
    for value in (1.0, 2.0, 3.0):
        a = torch.tensor(value, dtype=FLOAT64, requires_grad=True)
        y = torch.func.functional_call(block, {"field.a": a}, (times(1.0),))
        y.sum().backward()
        assert float(a.grad) == pytest.approx(-math.exp(-value), abs=1e-6)
    block(times(1.0)).sum().backward()  # its own, by a compiled loop
    assert float(block.field.a.grad) == pytest.approx(-math.exp(-1.0), abs=1e-6)


@both_engines
@every_method
def test_a_hook_of_a_parameter_acts_once(sensitivity: Sensitivity, engine: Engine) -> None:
    """On the whole gradient; so does one that is registered after the forward pass."""
    if engine == "torchdiffeq" and sensitivity.keeps not in ("nothing", "stages"):
        return
    field, seen = Decay(), []
    field.a.register_hook(lambda g: seen.append(float(g)) or g * 0.5)
    solver = Solver("dopri5", 1e-8, 1e-8, engine=engine)
    y = sensitivity(field, times(1.0), UNIT, solver, Work())
    field.a.register_hook(lambda g: g * 0.5)
    y[-1].sum().backward()
    assert seen == [pytest.approx(-math.exp(-1), abs=1e-6)]
    assert float(field.a.grad) == pytest.approx(-math.exp(-1) / 4, abs=1e-6)


def reusing(how: str) -> Function:
    """f = -y, written into memory that f keeps."""
    pair = [torch.empty(2, dtype=FLOAT64) for _ in range(2)]
    block, array, calls = torch.empty(3, 2, dtype=FLOAT64), np.empty(2), 0

    def f(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        match how:
            case "one":
                return torch.mul(y, -1.0, out=pair[0])
            case "alternating":
                return torch.mul(y, -1.0, out=pair[calls % 2])
            case "view":
                return torch.mul(y, -1.0, out=block[calls % 3])
            case "detached":
                return torch.mul(y, -1.0, out=pair[0]).detach()
            case _:
                np.negative(y.numpy(), out=array)
                return torch.from_numpy(array)

    return f


@both_engines
@pytest.mark.parametrize("how", ["one", "alternating", "view", "detached", "numpy"])
@every_solver
def test_results_in_memory_that_f_keeps(solver: Solver, how: str, engine: Engine) -> None:
    solver = Solver(**{**vars(solver), "engine": engine})
    with torch.no_grad():
        y = Discrete()(Called(reusing(how)), times(1.0, 2.0), UNIT, solver, Work())
    torch.testing.assert_close(y[-1], math.exp(-1) * times(1.0, 2.0), rtol=1e-6, atol=0)


@every_method
def test_a_kept_result_with_a_gradient(sensitivity: Sensitivity) -> None:
    """One buffer that autograd sees being written, and a parameter that is returned itself."""
    buffer = torch.zeros(2, dtype=FLOAT64)

    def f(t: Tensor, y: Tensor) -> Tensor:
        nonlocal buffer
        buffer = buffer.detach()
        return buffer.copy_(-y)

    y0 = times(1.0, 2.0).requires_grad_()
    sensitivity(Called(f), y0, UNIT, TIGHT, Work())[-1].sum().backward()
    torch.testing.assert_close(y0.grad, torch.full_like(y0, math.exp(-1)), rtol=1e-6, atol=0)

    field = Decay()
    field.forward = lambda t, y: field.a
    y0 = torch.tensor(1.5, dtype=FLOAT64, requires_grad=True)  # 0-dim
    sensitivity(field, y0, UNIT, TIGHT, Work())[-1].backward()
    assert float(field.a.grad) == pytest.approx(1.0)
    assert float(y0.grad) == pytest.approx(1.0)


def halving(t: Tensor, y: Tensor) -> Tensor:
    y.mul_(0.5)
    return -y


@both_engines
@pytest.mark.parametrize("grad", ["needed", "not needed", "inference"])
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_field_that_changes_y_in_place(name: str, grad: str, engine: Engine) -> None:
    sensitivity, y0 = ONE_OF_EACH[name], times(1.0, 2.0)
    if engine == "torchdiffeq" and name not in ("discrete", "backsolve"):
        return
    y0.requires_grad_(grad == "needed")
    solver = Solver("dopri5", 1e-4, 1e-4, engine=engine)
    mode = torch.inference_mode() if grad == "inference" else torch.enable_grad()
    with mode, pytest.raises(ValueError, match=r"^f changes y in place"):
        sensitivity(Called(halving), y0, UNIT, solver, Work())
    assert y0.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("is_leaf", [True, False])
@every_method
def test_a_tensor_that_is_no_parameter(sensitivity: Sensitivity, is_leaf: bool) -> None:
    """Its gradient would be lost; torchdiffeq's own graph has it."""
    leaf = torch.tensor(0.7, dtype=FLOAT64, requires_grad=True)
    p = leaf if is_leaf else leaf * 1.0
    field, y0 = Called(lambda t, y: -p * y), times(1.0, 1.0).requires_grad_()
    with pytest.raises(ValueError, match=r"^f uses a tensor of shape \(\) that requires grad"):
        sensitivity(field, y0, UNIT, TIGHT, Work())[-1].sum().backward()
    solver = Solver("dopri5", 1e-8, 1e-8, engine="torchdiffeq")
    Discrete()(field, y0, UNIT, solver, Work())[-1].sum().backward()
    assert float(leaf.grad) == pytest.approx(-2 * math.exp(-0.7))
    field = Called(lambda t, y: -p.detach() * y)
    sensitivity(field, y0, UNIT, TIGHT, Work())[-1].sum().backward()


@every_method
def test_a_start_without_dimensions(sensitivity: Sensitivity) -> None:
    y0 = torch.tensor(1.5, dtype=FLOAT64, requires_grad=True)
    for solver in SOLVERS:
        y = sensitivity(Called(lambda t, y: -y), y0, UNIT, solver, Work())
        assert y.shape == (2,)
        (d_y0,) = torch.autograd.grad(y[-1], y0)
        assert float(d_y0) == pytest.approx(math.exp(-1), abs=1e-6)


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 3)).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y)


@every_method
def test_random_numbers_in_f(sensitivity: Sensitivity) -> None:
    """Only a fixed-step solve of discrete evaluates f once; and in evaluation nothing is drawn."""
    field, y0 = Dropping(), torch.ones(2, 3, dtype=FLOAT64, requires_grad=True)
    fixed = Solver("rk4", n_steps=3)
    with pytest.raises(ValueError, match=r"^f draws random numbers .*solver that chooses"):
        Discrete()(field, y0, UNIT, TIGHT, Work())
    if sensitivity.keeps == "stages":
        loss = sensitivity(field, y0, UNIT, fixed, Work()).sum()
        loss.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="second backward pass"):
            loss.backward()
    else:
        with pytest.raises(ValueError, match=r"^f draws random numbers .*evaluates f again"):
            sensitivity(field, y0, UNIT, fixed, Work())
    sensitivity(field.eval(), y0, UNIT, TIGHT, Work()).sum().backward()


@no_grad_warning
@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (Dropping(), "draws random numbers"),
        (Called(halving), "changes y in place"),
        (Called(lambda t, y: y[:1]), r"shape \(1, 3\) for a y of shape \(2, 3\)"),
        (Called(lambda t, y: y * torch.ones(3, dtype=FLOAT64, requires_grad=True)), "uses a"),
        (Called(lambda t, y: y * TWO), "register_buffer"),
    ],
)
def test_what_is_refused_before_it_is_compiled(f: nn.Module, reason: str) -> None:
    y0 = torch.ones(2, 3, dtype=FLOAT64)
    with pytest.raises(ValueError, match=reason):
        Discrete()(CompiledField(f), y0, UNIT, TIGHT, Work())
    assert torch.equal(y0, torch.ones_like(y0))
