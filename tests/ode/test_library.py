"""odeint and odeint_adjoint: what they share with torchdiffeq's, and what they refuse."""

from typing import Any

import pytest
import torch
import torchdiffeq
from torch import Tensor, nn

from node_cli.ode import SolveFailed, Work, odeint, odeint_adjoint
from node_cli.ode.arguments import ABSENT, CALLBACKS
from node_cli.ode.sensitivity.methods import SENSITIVITIES
from tests.ode.problems import FLOAT64, MLP, loss_of, start, times, worst

T = times(0.0, 0.4, 1.0)
TIGHT = {"rtol": 1e-9, "atol": 1e-11}


class Pair(nn.Module):
    """Two states of different shapes, each of which moves the other one."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(0.7, dtype=FLOAT64))

    def forward(self, t: Tensor, y: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        position, velocity = y
        return velocity.sum() * self.a + 0 * position, -torch.sin(position.sum()) * t + 0 * velocity


def pair() -> tuple[Tensor, Tensor]:
    return (
        torch.tensor(0.5, dtype=FLOAT64, requires_grad=True),
        torch.tensor([[0.1, 0.2], [0.3, 0.4]], dtype=FLOAT64, requires_grad=True),
    )


def of_tuples(solve: Any, **options: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The solution, and its gradients."""
    f, y0, t = Pair(), pair(), T.clone().requires_grad_()
    y = solve(f, y0, t, **options)
    loss = loss_of(y[0]) + loss_of(y[1])
    return y, torch.autograd.grad(loss, [f.a, *y0, t])


@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
def test_tuples_are_those_of_torchdiffeq(sensitivity: str) -> None:
    y, gradients = of_tuples(odeint, sensitivity=sensitivity, **TIGHT)
    others, expected = of_tuples(torchdiffeq.odeint, **TIGHT)
    assert isinstance(y, tuple)
    assert [x.shape for x in y] == [(3,), (3, 2, 2)]
    for found, right in zip((*y, *gradients), (*others, *expected), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-7, atol=1e-8)


def test_a_tuple_is_a_tuple() -> None:
    with pytest.raises(TypeError, match=r"^y0 has to be a tensor, or a tuple of tensors$"):
        odeint(Pair(), [*pair()], T)
    with pytest.raises(TypeError, match=r"^func has to return a tuple of 2 tensors, as y is one$"):
        odeint(lambda t, y: y[0], pair(), T)
    with pytest.raises(ValueError, match=r"^func returns .* shape \(2, 2\) for a y of \(\)$"):
        odeint(lambda t, y: (y[1], y[1]), pair(), T)


@pytest.mark.parametrize("adjoint", [False, True])
def test_the_steps_are_those_of_torchdiffeq_between_requested_times(adjoint: bool) -> None:
    """Where one time alone is requested, so that landing on it makes no difference of steps."""
    solve, other = (odeint_adjoint, torchdiffeq.odeint_adjoint) if adjoint else (
        odeint, torchdiffeq.odeint
    )  # fmt: skip
    f, counted, work = MLP(), Counted(MLP()), Work()
    y = solve(f, start(), T[[0, 2]], rtol=1e-5, atol=1e-7, work=work)
    expected = other(counted, start(), T[[0, 2]], rtol=1e-5, atol=1e-7)
    # torchdiffeq steps over the end, and goes back by a polynomial.
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)
    assert abs(work.nfe_forward - counted.calls) <= 6


class Counted(nn.Module):
    def __init__(self, f: nn.Module) -> None:
        super().__init__()
        self.f = f
        self.calls = 0

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        found: Tensor = self.f(t, y)
        return found


def test_the_five_gradients_agree() -> None:
    found = {}
    for name in SENSITIVITIES:
        f, y0, t, work = MLP(), start(), T.clone().requires_grad_(), Work()
        y = odeint(f, y0, t, sensitivity=name, work=work, **TIGHT)
        found[name] = torch.autograd.grad(loss_of(y), [*f.parameters(), y0, t])
        assert work.vjps_backward > 0
        assert (work.nfe_backward == 0) == (name == "discrete")
    for name, gradients in found.items():
        assert worst(gradients, found["discrete"]) < 1e-8, name


def test_odeint_adjoint_is_backsolve() -> None:
    given = {"adjoint_rtol": 1e-4, "adjoint_atol": 1e-6, "adjoint_options": {"norm": "seminorm"}}
    found = []
    for solve, options in ((odeint_adjoint, {}), (odeint, {"sensitivity": "backsolve"})):
        f, work = MLP(), Work()
        y = solve(f, start(), T, work=work, **given, **options)
        found.append((*torch.autograd.grad(loss_of(y), [*f.parameters()]), work))
    *first, first_work = found[0]
    *second, second_work = found[1]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first_work == second_work


def test_the_backward_solve_has_tolerances_of_its_own() -> None:
    nfe = []
    for options in ({}, {"adjoint_rtol": 1e-3, "adjoint_atol": 1e-3}, {"adjoint_method": "rk4"}):
        f, work = MLP(), Work()
        odeint_adjoint(f, start(), T, work=work, **options)[-1].sum().backward()
        nfe.append(work.nfe_backward)
    assert nfe[0] > nfe[1] > nfe[2] == 8, "a step of rk4 from time to time"


def test_tensors_of_a_function_get_gradients() -> None:
    """Those that it is closed over, and those that a result of its own hides."""
    a = torch.tensor(-0.5, dtype=FLOAT64, requires_grad=True)
    y0 = torch.ones(2, dtype=FLOAT64)
    for sensitivity in SENSITIVITIES:
        y = odeint(lambda t, y: a * y, y0, times(0.0, 1.0), sensitivity=sensitivity, **TIGHT)
        (found,) = torch.autograd.grad(y[-1].sum(), a)
        torch.testing.assert_close(found, 2 * a.detach().exp(), rtol=1e-7, atol=0)
    made = (2 * a).exp()  # no leaf
    y = odeint_adjoint(
        lambda t, y: made.log() / 2 * y, y0, times(0.0, 1.0), adjoint_params=(made,), **TIGHT
    )
    (found,) = torch.autograd.grad(y[-1].sum(), a)
    torch.testing.assert_close(found, 2 * a.detach().exp(), rtol=1e-7, atol=0)


@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
def test_a_norm_of_ones_own(sensitivity: str) -> None:
    """It moves the steps, and the gradients stay those of the ODE."""

    def weighted(y: Tensor) -> Tensor:
        return 100 * y.abs().max()

    found, work = [], []
    for options in ({}, {"norm": weighted}):
        f, y0 = MLP(), start()
        work.append(Work())
        y = odeint(
            f, y0, T, rtol=1e-7, atol=1e-9, options=options, sensitivity=sensitivity, work=work[-1]
        )
        found.append(torch.autograd.grad(loss_of(y), [*f.parameters(), y0]))
    assert work[1].nfe_forward > work[0].nfe_forward
    assert worst(found[1], found[0]) < 1e-5


def test_a_norm_that_does_not_see_all() -> None:
    """A coordinate that the norm leaves out may become infinite: the solve fails, not hangs."""
    with pytest.raises(SolveFailed):
        odeint(
            lambda t, y: torch.stack([-y[0], y[1] ** 2 * 1e3]),
            torch.ones(2, dtype=FLOAT64),
            times(0.0, 1.0),
            options={"norm": lambda y: y[0].abs(), "max_num_steps": 200},
        )


@pytest.mark.slow
def test_a_compiled_func() -> None:
    """torch.compile of the func, whatever its norm."""
    f, y0 = MLP(), start().detach()
    compiled = torch.compile(f, backend="eager", dynamic=False)
    for options in ({}, {"norm": lambda y: y.abs().max()}):
        y = odeint(compiled, y0, T, options=options)
        torch.testing.assert_close(y, odeint(f, y0, T, options=options), rtol=0, atol=0)
        y.sum().backward()
    torch.compiler.reset()


def test_events_and_callbacks_are_refused() -> None:
    y0 = torch.ones(1)
    with pytest.raises(NotImplementedError, match=r"^event_fn: there is no such thing here; torch"):
        odeint(torch.add, y0, T, event_fn=lambda t, y: y)
    for name in CALLBACKS:
        f = MLP()
        setattr(f, name, lambda t, y, dt: None)
        with pytest.raises(NotImplementedError, match=rf"^func\.{name}: there is no such thing"):
            odeint(f, y0, T)


@pytest.mark.parametrize("method", ["dopri5", "rk4", "implicit_adams", "scipy_solver"])
@pytest.mark.parametrize("key", ABSENT)
def test_options_that_are_not_there(key: str, method: str) -> None:
    with pytest.raises(ValueError, match=rf"^options\['{key}'\]: \w.{{10,}}$"):
        odeint(MLP(), start(), T, method=method, options={key: 0.1})


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        ("dopri6", {}, "method='dopri6': choose from euler, "),
        ("dopri5", {"step_size": 0.1}, r"options\['step_size'\]: method=dopri5 takes controller"),
        ("rk4", {"norm": torch.norm}, r"options\['norm'\]: method=rk4 takes"),
        ("rk4", {"step_size": -0.1}, r"options\['step_size'\] has to be one positive number"),
        ("rk4", {"n_steps": 2.5}, r"options\['n_steps'\] has to be a positive whole number"),
        ("rk4", {"n_steps": True}, r"options\['n_steps'\] has to be a positive whole number"),
        ("rk4", {"n_steps": 2, "step_size": 0.1}, r"options\['n_steps'\]: not with options"),
        ("dopri5", {"max_num_steps": 0}, r"options\['max_num_steps'\] has to be a positive whole"),
        ("dopri5", {"first_step": "warm"}, r"options\['first_step'\] has to be one positive"),
        ("dopri5", {"controller": "pid"}, r"options\['controller'\]: choose from integral, pi,"),
        ("scipy_solver", {"solver": "RK99"}, r"options\['solver'\]: choose from RK45, "),
        ("implicit_adams", {"engine": "native"}, r"options\['engine'\]: method=implicit_adams has"),
    ],
)
def test_options_that_are_wrong(method: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        odeint(MLP(), start(), T, method=method, options=options)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rtol": 0.0}, "rtol has to be one positive number, not 0.0$"),
        ({"atol": torch.ones(3)}, "atol has to be one positive number, not tensor"),
        ({"sensitivity": "adjoint"}, "sensitivity='adjoint': choose from discrete, "),
        ({"adjoint_rtol": 1e-3}, "adjoint_\\*: sensitivity=discrete solves nothing backwards$"),
        (
            {"sensitivity": "checkpointed", "adjoint_method": "rk4"},
            "adjoint_\\*: sensitivity=checkpointed solves nothing backwards$",
        ),
        (
            {"sensitivity": "gauss", "adjoint_options": {"norm": "seminorm"}},
            r"adjoint_options\['norm'\]: not read by gauss with dopri5$",
        ),
        (
            {"sensitivity": "backsolve", "adjoint_options": {"norm": torch.norm}},
            r"adjoint_options\['norm'\]: choose 'full' or 'seminorm'",
        ),
        (
            {
                "sensitivity": "backsolve",
                "adjoint_method": "rk4",
                "adjoint_options": {"norm": "full"},
            },
            r"adjoint_options\['norm'\]: not read by backsolve with rk4$",
        ),
        (
            {"sensitivity": "interpolating", "adjoint_options": {"max_drift": 1.0}},
            r"adjoint_options\['max_drift'\]: not read by interpolating",
        ),
        (
            {"sensitivity": "backsolve", "adjoint_options": {"jump_t": [0.5]}},
            r"adjoint_options\['jump_t'\]: give it in options",
        ),
        (
            {"sensitivity": "gauss", "adjoint_method": "implicit_adams"},
            "adjoint_method=implicit_adams: sensitivity=gauss needs dense output$",
        ),
        (
            {"sensitivity": "gauss", "method": "implicit_adams", "adjoint_method": "dopri5"},
            "sensitivity=gauss: needs the native engine",
        ),
        ({"method": "scipy_solver"}, "sensitivity=discrete: scipy's solution carries no gradient"),
    ],
)
def test_arguments_that_are_wrong(given: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        odeint(MLP(), start(), T, **given)


def test_without_a_gradient_any_pair_will_do() -> None:
    with torch.no_grad():
        y = odeint(MLP(), start(), T, method="scipy_solver", options={"solver": "RK45"})
    assert not y.requires_grad


@pytest.mark.parametrize("t", [[0.0, 1.0], torch.tensor([0, 1])])
def test_times_are_a_tensor_of_numbers(t: Any) -> None:
    with pytest.raises(TypeError, match=r"^t has to be a tensor of floating-point numbers$"):
        odeint(MLP(), start(), t)


def test_tolerances_may_be_tensors() -> None:
    f, y0 = MLP(), start()
    y = odeint(f, y0, T, rtol=torch.tensor(1e-4, dtype=FLOAT64), atol=torch.tensor([1e-6]))
    assert torch.equal(y, odeint(f, y0, T, rtol=1e-4, atol=float(torch.tensor(1e-6))))
