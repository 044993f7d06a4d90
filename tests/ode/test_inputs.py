"""Starts, times and results of f that are at the edge of what a solve takes, or beyond it."""

import pytest
import torch
from torch import Tensor, nn

from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Engine, Solver
from node_cli.ode.work import Work
from tests.ode.problems import FLOAT64, MLP, every_method, loss_of, start, times

UNIT = times(0.0, 1.0)
ENGINES: list[Engine] = ["native", "torchdiffeq"]
SOLVERS = [Solver("dopri5", 1e-4, 1e-4, engine=engine) for engine in ENGINES]
SOLVERS += [Solver("rk4", n_steps=2, engine=engine) for engine in ENGINES]
every_solver = pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: f"{s.name}-{s.engine}")


class Returning(nn.Module):
    """f returns this, or what this makes of y."""

    def __init__(self, what: object) -> None:
        super().__init__()
        self.what = what

    def forward(self, t: Tensor, y: Tensor) -> object:
        return self.what(y) if callable(self.what) else self.what


def solved(field: nn.Module, y0: Tensor, solver: Solver, t: Tensor = UNIT) -> Tensor:
    return Discrete()(field, y0, t, solver, Work())


@pytest.mark.parametrize(
    ("dtype", "advice"),
    [
        (torch.complex64, "view_as_real"),
        (torch.complex128, "view_as_real"),
        (torch.bfloat16, "torch.autocast"),
        (torch.float16, "torch.autocast"),
        (torch.int64, "float32"),
        (torch.bool, "float32"),
    ],
)
@every_solver
def test_dtypes(dtype: torch.dtype, advice: str, solver: Solver) -> None:
    """The native engine takes two; torchdiffeq more, but no integers."""
    y0 = torch.ones(2, dtype=dtype)
    if solver.engine == "torchdiffeq" and (dtype.is_floating_point or dtype.is_complex):
        return
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(TypeError, match=f"^y0 is {name}, .*{advice}"):
        solved(Returning(torch.neg), y0, solver)


@every_solver
def test_no_elements(solver: Solver) -> None:
    with pytest.raises(ValueError, match=r"^y0 has no elements, shape \(0, 3\)"):
        solved(Returning(torch.neg), torch.zeros(0, 3), solver)


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        (None, TypeError, "f returns None"),
        ((1, 2), TypeError, "f returns a tuple of 2"),
        (1.0, TypeError, "f returns a float"),
        (lambda y: y.sum(), ValueError, r"shape \(\) for a y of shape \(2, 3\)"),
        (lambda y: y[:1], ValueError, r"shape \(1, 3\) for a y of shape \(2, 3\)"),
        (lambda y: y.T, ValueError, r"shape \(3, 2\) for a y of shape \(2, 3\)"),
        (lambda y: 1j * y, TypeError, "f returns complex128 for a y of float64"),
    ],
)
@every_solver
def test_what_is_no_derivative(
    what: object, error: type[Exception], words: str, solver: Solver
) -> None:
    for grad in (True, False):
        y0 = torch.ones(2, 3, dtype=FLOAT64, requires_grad=grad)
        with pytest.raises(error, match=words):
            solved(Returning(what), y0, solver)


@every_solver
@every_method
@pytest.mark.parametrize("values", [[0.3], [0.3, 0.3], [0.3, 0.3, 0.3]])
def test_no_time_passes(sensitivity: Sensitivity, values: list[float], solver: Solver) -> None:
    """y0 at each; dL/dy0 is the sum of all, and as time would pass by dt_i, y_i moves by f dt_i."""
    field, y0, t, work = MLP(), start(), times(*values).requires_grad_(), Work()
    y = sensitivity(field, y0, t, solver, work)
    assert y.shape == (len(values), *y0.shape)
    assert all(torch.equal(state, y0) for state in y)
    assert work == Work()
    weights = torch.autograd.grad(loss_of(y), y, retain_graph=True)[0]
    d_y0, d_t, *theta = torch.autograd.grad(loss_of(y), [y0, t, *field.parameters()])
    torch.testing.assert_close(d_y0, weights.sum(0))
    assert not any(g.any() for g in theta)
    f = field(t[0], y0)
    later = [(w * f).sum() for w in weights[1:]]
    expected = torch.stack([-sum(later, torch.zeros((), dtype=FLOAT64)), *later])
    torch.testing.assert_close(d_t, expected)
    with torch.no_grad():
        assert not sensitivity(field, y0, t, solver, Work()).requires_grad


@every_solver
@pytest.mark.parametrize(
    ("t", "words"),
    [
        (times(), "vector of times"),
        (times(0.0)[0], "vector of times"),
        (times(0.0, float("nan")), "has to be finite"),
        (times(0.0, float("inf")), "has to be finite"),
        (times(0.0, 1.0, 1.0, 2.0), "strictly increasing"),
    ],
)
def test_what_is_no_time(t: Tensor, words: str, solver: Solver) -> None:
    with pytest.raises(ValueError, match=words):
        solved(MLP(), start(), solver, t)


@pytest.mark.parametrize("solver", [s for s in SOLVERS if s.engine == "native"], ids=str)
def test_times_that_float32_does_not_tell_apart(solver: Solver) -> None:
    far = times(1e9, 1e9 + 1)
    with pytest.warns(UserWarning, match=r"float32 resolves t=1e\+09 to 1e\+02 only") as found:
        solved(Returning(torch.neg), torch.ones(1), solver, torch.cat([far, far[1:] + 1]))
    assert len(found) == 1
    solved(Returning(torch.neg), torch.ones(1, dtype=FLOAT64), solver, far)
    solved(Returning(torch.neg), torch.ones(1), solver, times(100.0, 100.1))


@every_solver
@every_method
def test_transforms_of_torch_func(sensitivity: Sensitivity, solver: Solver) -> None:
    field = MLP()

    def end(y0: Tensor) -> Tensor:
        return sensitivity(field, y0, UNIT, solver, Work())[-1]

    for transform in (torch.func.vmap, torch.func.jacrev):
        with pytest.raises(RuntimeError, match=r"^a solve does not work inside torch\.func"):
            transform(end)(start().detach())
