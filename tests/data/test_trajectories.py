"""Trajectories: the true ones solve their equations, the windows keep their rules."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from node_cli.config.data import TrajectoryData
from node_cli.config.schema import Config
from node_cli.data.catalog import TRAJECTORIES
from node_cli.data.trajectories import START, Trajectory, load, solution, window

Configure = Callable[..., Config]

SPIRAL = TrajectoryData(
    name="spiral_linear",
    points=200,
    end=31.45,
    noise=0.01,
    windows=10,
    window_points=32,
    window_shortest=1.0,
    window_longest=5.0,
)


def closed_form(t: Tensor) -> Tensor:
    """Of the linear spiral: turned by t, shrunk by exp(-t / 10)."""
    x, y = START
    turned = torch.stack([x * t.cos() - y * t.sin(), x * t.sin() + y * t.cos()], dim=1)
    return turned * (-t / 10).exp().unsqueeze(1)


def test_the_linear_spiral_converges_to_the_closed_form_with_order_1() -> None:
    t = torch.linspace(0, 5, 6, dtype=torch.float64)
    errors = [
        float((solution("spiral_linear", t, step) - closed_form(t)).abs().max())
        for step in (0.02, 0.01, 0.005)
    ]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.05)


def test_the_nonlinear_field_is_one_spiral_on_each_side() -> None:
    """Far out only one of the two fields is left, and between their centres it is their mean."""
    field, t = TRAJECTORIES["spiral_nonlinear"], torch.tensor(0.0)

    def at(x: float, y: float) -> list[float]:
        return field(t, torch.tensor([x, y], dtype=torch.float64)).tolist()

    assert at(-101, 2) == pytest.approx([-0.1 * -100 - 0.5 * 2, 0.5 * -100 - 0.1 * 2])
    assert at(101, 2) == pytest.approx([0.2 * 100 + 2, -100 + 0.2 * 2])
    assert at(0, 0) == pytest.approx([(-0.1 - 0.2) / 2, (0.5 + 1.0) / 2])


def test_every_trajectory_stays_in_sight() -> None:
    for name in TRAJECTORIES:
        states = load(SPIRAL.model_copy(update={"name": name, "end": 300.0}), seed=0).states
        assert states.abs().max() < 10


def test_noise_is_on_every_point_and_of_the_seed_alone() -> None:
    data = load(SPIRAL, seed=3)
    assert data.times[[0, -1]].tolist() == [0.0, 31.45]
    assert data.states[0].tolist() == [*START]
    noise = (data.observed - data.states) / 0.01
    assert float(noise.std()) == pytest.approx(1, abs=0.1)
    assert float(noise.abs().min()) > 0
    assert torch.equal(data.observed, load(SPIRAL, seed=3).observed)
    assert not torch.equal(data.observed, load(SPIRAL, seed=4).observed)


@settings(max_examples=300, deadline=None)
@given(draw=st.data())
def test_windows_keep_their_rules(draw: st.DataObject) -> None:
    points = draw.draw(st.integers(5, 400), label="points")
    end = draw.draw(st.floats(0.5, 100), label="end")
    apart = end / (points - 1)
    longest = draw.draw(st.floats(2.5 * apart, end), label="longest")
    shortest = draw.draw(st.floats(2.001 * apart, longest), label="shortest")
    most = draw.draw(st.integers(2, points), label="most points")
    seed, step = draw.draw(st.integers(0, 2**63 - 1)), draw.draw(st.integers(0, 10**6))
    config = SPIRAL.model_copy(
        update={
            "points": points,
            "end": end,
            "window_points": most,
            "window_shortest": shortest,
            "window_longest": longest,
        }
    )
    times = torch.linspace(0, end, points, dtype=torch.float64)
    states = torch.rand(points, 2, dtype=torch.float64)
    found = window(Trajectory(times, states, states + 1), config, seed, step)

    assert len(found) == 1, "one trajectory"
    index = torch.searchsorted(times, found.times)
    assert torch.equal(times[index], found.times)
    assert torch.equal(found.states, states[index].unsqueeze(1) + 1), "as observed"
    assert 2 <= len(index) <= most
    assert bool((index.diff() > 0).all())
    assert float(found.times[0]) > 0, "the first point of all lies at the edge of every window"
    assert float(found.times[-1] - found.times[0]) < longest
    if len(index) < most:  # all there are, with no place left for another on both sides
        assert bool((index.diff() == 1).all())
        assert float(found.times[-1] - found.times[0]) > shortest - 2.001 * apart


def test_a_window_is_a_function_of_the_seed_and_the_step() -> None:
    data = load(SPIRAL, seed=0)

    def times(seed: int, step: int) -> list[float]:
        return window(data, SPIRAL, seed, step).times.tolist()

    drawn = [times(0, step) for step in range(300)]
    assert [times(0, step) for step in reversed(range(300))] == drawn[::-1]
    assert times(1, 0) != drawn[0]
    assert len({tuple(t) for t in drawn}) > 250
    served = {t for each in drawn for t in each}
    assert served < {*data.times[1:-1].tolist()}, "neither end is strictly within a window"
    assert len(served) > 0.95 * len(data.times), "few points do not serve"
    assert {len(t) for t in drawn} > {7, 20, 31}
