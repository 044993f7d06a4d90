"""Step control gives eager solves and traced ones the same numbers."""

import math
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from node_cli.ode.engines.formulas import just_before, stage_times
from node_cli.ode.engines.step_control import (
    CONTROLLERS,
    LARGEST_FACTOR,
    SMALLEST_FACTOR,
    change_of_size,
    end_of_equal_step,
    first_size,
    landing,
    natural_size,
    new_factor,
    probing_size,
)
from node_cli.ode.solver import DEFAULT_CONTROLLER, Controller, Solver
from node_cli.ode.tableaus import TABLEAUS


def scalar(x: float) -> Tensor:
    return torch.tensor(x, dtype=torch.float64)


def assert_same(number: float, tensor: Tensor) -> None:
    assert isinstance(number, float)
    assert number == pytest.approx(float(tensor), rel=1e-15, nan_ok=True)


ERRORS = (0.0, 1e-320, 1e-12, 1e-3, 0.9, 1.0, 1.1, 7.0, 1e9, math.inf)


def test_controllers_have_names() -> None:
    assert set(get_args(Controller)) == set(CONTROLLERS)
    assert DEFAULT_CONTROLLER in CONTROLLERS


def test_the_default_of_the_configuration_is_that_of_the_library() -> None:
    error, previous = 0.3, 0.7
    default, named = (Solver("bosh3", controller=c) for c in (None, DEFAULT_CONTROLLER))
    assert change_of_size(default, error, previous) == change_of_size(named, error, previous)
    text = (Path(__file__).parents[3] / "conf/solver/_adaptive.yaml").read_text()
    assert f"\ncontroller: {DEFAULT_CONTROLLER} " in text


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("order", [2, 3, 5, 8])
def test_integral_is_the_published_formula(order: int, error: float) -> None:
    """0.9 error^(-1/k) within [0.2, 10], at least 1 after an accepted step."""
    factor, _ = new_factor(CONTROLLERS["integral"], order, error, 0.3)
    plain = 10.0 if error == 0 else min(10.0, max(0.2, 0.9 * error ** (-1 / order)))
    assert factor == pytest.approx(max(1.0, plain) if error < 1 else plain, rel=1e-14)


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_factors(controller: str) -> None:
    solver = Solver("bosh3", rtol=1.0, atol=1.0, controller=controller)
    for error, previous in product(ERRORS, (1e-10, 0.3, 1.0)):
        ours = change_of_size(solver, error, previous)
        traced = change_of_size(solver, scalar(error), scalar(previous))
        for number, tensor in zip(ours, traced, strict=True):
            assert_same(number, tensor)
        assert SMALLEST_FACTOR <= ours[0] <= LARGEST_FACTOR
        assert ours[0] <= 1 or error <= 1


def test_first_sizes() -> None:
    norms = (0.0, 1e-16, 1e-6, 0.3, 1e5, math.inf, math.nan)
    for d0, d1, d2 in product(norms, repeat=3):
        h0 = probing_size(d0, d1)
        assert_same(h0, probing_size(scalar(d0), scalar(d1)))
        if not math.isnan(d1) and not math.isnan(d2):  # then the solve fails in any case
            size = first_size(h0, d1, d2, 5)
            assert_same(size, first_size(scalar(h0), scalar(d1), scalar(d2), 5))


def test_ends_of_steps() -> None:
    for start, end, j in product((0.0, 0.3), (1.0, -0.7), range(7)):
        ours = end_of_equal_step(start, end, j, 7)
        assert_same(ours, end_of_equal_step(scalar(start), scalar(end), scalar(j), scalar(7)))
        assert (ours == end) == (j == 6)
    for t1, end, direction in ((0.9, 1.0, 1.0), (1.0, 1.0, 1.0), (1.1, 1.0, 1.0), (-2.0, 0.0, -1)):
        where, lands = landing(t1, end, float(direction))
        traced, traced_lands = landing(scalar(t1), scalar(end), scalar(direction))
        assert_same(where, traced)
        assert lands == bool(traced_lands)
    for factor in (0.5, 2.0, LARGEST_FACTOR):
        assert_same(
            natural_size(factor, 0.1, 0.2), natural_size(scalar(factor), scalar(0.1), scalar(0.2))
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", TABLEAUS)
def test_times_of_stages(name: str, dtype: torch.dtype) -> None:
    tableau = TABLEAUS[name]
    for t0, t1 in ((0.1, 0.7), (0.7, 0.1)):
        ours = stage_times(tableau, t0, t1, dtype)
        traced = stage_times(tableau, scalar(t0), scalar(t1), dtype)
        assert len(ours) == tableau.stages - 1
        for c, number, tensor in zip(tableau.c[1:], ours, traced, strict=True):
            assert torch.tensor(number, dtype=dtype) == tensor.to(dtype)
            if c == 1 and tableau.adaptive:
                assert min(t0, t1) < number < max(t0, t1)
                assert number == just_before(t1, t0, dtype)
