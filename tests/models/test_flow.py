"""A flow: the core alone, at any times."""

import math
from collections.abc import Callable

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.models.describe import describe, parameter_count
from node_cli.models.fields import MLP, Linear
from node_cli.models.flow import Flow, build

Configure = Callable[..., Config]


def flow(configure: Configure, *overrides: str) -> Flow:
    torch.manual_seed(0)
    return build(configure("data=spiral_linear", *overrides), (2,), end=31.45).double()


@pytest.mark.parametrize(("model", "parameters"), [("linear_field", 4), ("mlp_field", 354)])
def test_sizes_and_words(configure: Configure, model: str, parameters: int) -> None:
    built = flow(configure, f"model={model}")
    assert parameter_count(built) == parameters
    ((part, words, shape),) = describe(built, (2,))
    assert (part, shape) == ("core", (2,))
    assert words.startswith("dy/dt = f(t, y) over [0, 31.45], f: Linear 2->")


def test_a_linear_field_flows_as_the_matrix_exponential(configure: Configure) -> None:
    """At every time, for several trajectories at once, and at the last time alone."""
    built = flow(configure, "model=linear_field", "solver.tol=1e-10")
    w = built.core.field.net.weight
    y0 = torch.randn(3, 2, dtype=torch.float64)
    t = torch.tensor([0.0, 0.3, 2.0, 2.1], dtype=torch.float64)
    expected = torch.stack([y0 @ torch.matrix_exp(w * s).T for s in t])
    torch.testing.assert_close(built(y0, t), expected, rtol=1e-7, atol=1e-7)
    built.core.t1 = 2.1
    torch.testing.assert_close(built.core(y0), expected[-1], rtol=1e-7, atol=1e-7)


def test_the_linear_field_is_drawn_with_standard_deviation_a_half() -> None:
    torch.manual_seed(0)
    entries = torch.cat([Linear((2,)).net.weight.detach().flatten() for _ in range(1000)])
    assert float(entries.std()) == pytest.approx(0.5, rel=0.05)


def test_glorot(configure: Configure) -> None:
    built = flow(configure, "model=mlp_field", "model.init=glorot")
    assert isinstance(built.core.field, MLP)
    first = built.core.field.net[0]
    assert not first.bias.any()
    assert float(first.weight.detach().abs().max()) <= math.sqrt(6 / 18)


@pytest.mark.parametrize("field", ["conv", "nothing"])
def test_a_field_that_does_not_fit(configure: Configure, field: str) -> None:
    with pytest.raises(UserError, match=f"model.field={field}: "):
        flow(configure, "model=linear_field", f"model.field={field}")
