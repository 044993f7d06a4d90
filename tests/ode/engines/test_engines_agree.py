"""The native engine takes torchdiffeq's steps: the same times, states and counts."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from node_cli.config.schema import Config
from node_cli.models.classifier import build
from node_cli.ode.failures import SolveFailed
from node_cli.ode.solver import Engine, Solver
from node_cli.ode.work import Steps
from tests.ode.problems import ADAPTIVE, FIXED, FLOAT64, MLP, Function, Spy, pendulum, solve, times

# Those whose last stage is f(t1, y1) in both engines.
ALIKE = ["bosh3", "dopri5", "tsit5", "dopri8"]

Configure = Callable[..., Config]


def both(f: Function, y0: Tensor, t: Tensor, name: str, **options: float) -> list[tuple]:
    """State, steps and times of evaluation, with each engine."""
    results = []
    for engine in ("native", "torchdiffeq"):
        spy = Spy(f)
        controller = "integral" if name in ADAPTIVE else None  # torchdiffeq's own
        y, steps = solve(spy, y0, t, Solver(name, engine=engine, controller=controller, **options))
        results.append((y, steps, spy.t))
    return results


@st.composite
def requested_times(draw: st.DrawFn) -> Tensor:
    """2 to 4 of them, increasing or decreasing, 0.05 to 1 apart."""
    gaps = draw(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=3))
    start, sign = draw(st.floats(-1.0, 1.0)), draw(st.sampled_from([1.0, -1.0]))
    values = [start]
    for gap in gaps:
        values.append(values[-1] + sign * gap)
    return times(*values)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    name=st.sampled_from(ALIKE),
    seed=st.integers(0, 2**16),
    scale=st.sampled_from([0.3, 1.0, 3.0]),
    t=requested_times(),
    log_rtol=st.floats(-9, -3),
    log_atol=st.floats(-9, -3),
)
def test_step_for_step(
    name: str, seed: int, scale: float, t: Tensor, log_rtol: float, log_atol: float
) -> None:
    field = MLP(seed, scale=scale)
    y0 = torch.randn(4, 3, dtype=FLOAT64, generator=torch.Generator().manual_seed(seed))
    ours, theirs = both(field, y0, t, name, rtol=10**log_rtol, atol=10**log_atol)
    assert ours[1] == theirs[1]
    # A step size inherits the rounding of the estimated error, which cancels at tight tolerances.
    torch.testing.assert_close(times(*ours[2]), times(*theirs[2]), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", ALIKE)
def test_rejected_steps_are_the_same_too(name: str) -> None:
    """A first step that is far too long, and a field that soon changes its pace."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        return torch.stack([40 * torch.cos(20 * t * y[1]), torch.tanh(y[0]) - y[1]])

    options = {"rtol": 1e-5, "atol": 1e-6, "first_step": 1.0}
    ours, theirs = both(f, times(0.7, 0.4), times(0.0, 0.4, 1.5), name, **options)
    assert ours[1] == theirs[1]
    assert ours[1].rejected
    assert ours[1].rejected > 3
    torch.testing.assert_close(times(*ours[2]), times(*theirs[2]), rtol=0, atol=1e-9)
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("model", "name"),
    # Untrained odenet rejects hundreds of steps with dopri8 and tsit5, and takes as long.
    [*product(["dense", "conv"], ALIKE), ("odenet", "bosh3"), ("odenet", "dopri5")],
)
def test_the_same_counts_on_the_shipped_models_in_float32(
    configure: Configure, model: str, name: str
) -> None:
    torch.manual_seed(0)
    classifier = build(configure(f"model={model}"), (1, 28, 28), 10)
    with torch.no_grad():
        y0 = classifier.stem(torch.rand(2, 1, 28, 28))
    for tol in (1e-2,) if model == "odenet" else (1e-3, 1e-5):  # it rejects, and takes long
        t = times(0.0, 1.0)
        ours, theirs = both(classifier.core.field, y0, t, name, rtol=tol, atol=tol)
        assert ours[1] == theirs[1]
        assert len(ours[2]) == len(theirs[2])
        assert ours[0].dtype == theirs[0].dtype == torch.float32
        torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "stages"), [("adaptive_heun", 2), ("fehlberg2", 3)])
def test_the_textbook_pairs_cost_one_more_than_torchdiffeqs(name: str, stages: int) -> None:
    """2 and 3 f per accepted step, of which a rejected one leaves the first to use again.

    torchdiffeq takes 1 and 2: it begins a step with the last stage of the one before, which is not
    f there.
    """
    ours, theirs = both(
        pendulum, times(0.7, 0.4), times(0.0, 0.5, 3.0), name, rtol=1e-4, atol=1e-4, first_step=1.0
    )
    for (_, steps, evaluated), per_step, at_start in ((ours, stages, 0), (theirs, stages - 1, 1)):
        assert steps.accepted > 10
        assert steps.rejected > 0
        rejected = steps.rejected * (stages - 1)
        assert len(evaluated) == at_start + steps.accepted * per_step + rejected


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
@pytest.mark.parametrize("name", FIXED)
def test_fixed_steps_cost_their_stages_and_no_more(name: str, dtype: torch.dtype) -> None:
    """For every number of steps, over two unequal intervals, and the same grid in both engines."""
    y0, t = times(0.7, 0.4, dtype=dtype), times(0.0, 0.3, 1.0, dtype=dtype)
    stages = Solver(name, n_steps=1).tableau.stages
    for n in range(1, 201) if name == "euler" else [1, 2, 3, 7, 49, 200]:
        ours, theirs = both(pendulum, y0, t, name, n_steps=n)
        assert ours[1] == theirs[1] == Steps(2 * n, 0)
        assert len(ours[2]) == len(theirs[2]) == 2 * n * stages
        rounding = 1e-6 if dtype == torch.float32 else 1e-14
        torch.testing.assert_close(times(*ours[2]), times(*theirs[2]), rtol=0, atol=rounding)
        torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=10 * rounding)


@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64])
@pytest.mark.parametrize("backwards", [False, True])
def test_step_size_1_over_n_is_n_steps(dtype: torch.dtype, backwards: bool) -> None:
    """Whatever 1 / n rounds to; a step size that is a little less takes n + 1 steps."""
    t = times(1.0, 0.0, dtype=dtype) if backwards else times(0.0, 1.0, dtype=dtype)
    for n in range(1, 201):
        for size, expected in ((1 / n, n), (1 / (n + 0.01), n + 1)):
            spy = Spy(lambda t, y: -y)
            y, steps = solve(spy, torch.ones(1, dtype=dtype), t, Solver("euler", step_size=size))
            assert (spy.nfe, steps) == (expected, Steps(expected, 0))
            assert y.shape == (2, 1)


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
def test_n_steps_is_per_interval_and_step_size_a_maximum(engine: Engine) -> None:
    t, y0 = times(0.0, 1.0, 1.5, 1.51, 2.0), times(0.7, 0.4)
    _, steps = solve(pendulum, y0, t, Solver("euler", step_size=0.05, engine=engine))
    assert steps.accepted == 20 + 10 + 1 + 10
    _, steps = solve(pendulum, y0, t, Solver("euler", n_steps=3, engine=engine))
    assert steps.accepted == 4 * 3


@pytest.mark.parametrize("engine", ["native", "torchdiffeq"])
@pytest.mark.parametrize("name", [*FIXED, *ADAPTIVE])
def test_max_nfe_is_met_exactly(name: str, engine: Engine) -> None:
    """As many evaluations as a solve needs are enough; one less is not, and none is made beyond.

    The native engine does not begin a step that it may not finish.
    """
    options = {"n_steps": 7} if name in FIXED else {"rtol": 1e-4, "atol": 1e-4}
    y0, t, spy = times(0.7, 0.4), times(0.0, 0.4, 1.0), Spy(pendulum)
    solve(spy, y0, t, Solver(name, engine=engine, **options))
    needed, spy = spy.nfe, Spy(pendulum)
    solve(spy, y0, t, Solver(name, engine=engine, max_nfe=needed, **options))
    assert spy.nfe == needed
    spy = Spy(pendulum)
    with pytest.raises(SolveFailed, match=f"^{needed - 1} evaluations of f .* raise max_nfe") as e:
        solve(spy, y0, t, Solver(name, engine=engine, max_nfe=needed - 1, **options))
    if engine == "torchdiffeq":
        assert spy.nfe == needed - 1
    assert needed - Solver(name).tableau.stages <= spy.nfe < needed
    assert 0 <= e.value.t <= 1
