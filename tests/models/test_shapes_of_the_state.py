"""Augmentation, second-order dynamics, weights piecewise in time, dropout around the core."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from node_cli.config.schema import Config
from node_cli.models.augment import Zeros
from node_cli.models.blocks import ODEBlock
from node_cli.models.classifier import Classifier, build
from node_cli.models.describe import describe, parameter_count
from node_cli.models.dynamics import HeavyBall, SecondOrder
from node_cli.ode.sensitivity.discrete import Discrete
from node_cli.ode.sensitivity.methods import SENSITIVITIES
from node_cli.ode.solver import Solver

Configure = Callable[..., Config]
MNIST = (1, 28, 28)
TIGHT = Solver("dopri8", rtol=1e-10, atol=1e-10)

SHAPES = [
    ["model.augment=3"],
    ["model.augment=3", "model.augment_by=layer"],
    ["model.dynamics=second_order"],
    ["model.dynamics=heavy_ball", "model.velocity=layer"],
    ["model.weights_in_t=3"],
    ["model.weights_in_t=2", "model.dynamics=heavy_ball", "model.augment=2", "model.t1=-2"],
]


def model(configure: Configure, *overrides: str) -> Classifier:
    torch.manual_seed(0)
    return build(configure(*overrides), MNIST, 10)


class Spring(nn.Module):
    """-k y."""

    def __init__(self, stiffness: float) -> None:
        super().__init__()
        self.stiffness = nn.Parameter(torch.tensor(stiffness, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -self.stiffness * y


def test_second_order_is_the_harmonic_oscillator() -> None:
    """y'' = -4 y: y0 cos 2t + v0/2 sin 2t, and the velocity beside it."""
    y0, v0 = torch.randn(2, 5, 3, dtype=torch.float64)
    block = ODEBlock(SecondOrder(Spring(4.0)), 0.0, 0.7, TIGHT, Discrete())
    y, v = block(torch.cat([y0, v0], dim=1)).chunk(2, dim=1)
    c, s = torch.tensor(1.4).double().cos(), torch.tensor(1.4).double().sin()
    torch.testing.assert_close(y, y0 * c + v0 / 2 * s, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(v, v0 * c - 2 * y0 * s, rtol=1e-6, atol=1e-6)


def test_a_heavy_ball_is_the_damped_oscillator() -> None:
    """y'' = -5/4 y - y' from rest: y0 exp(-t/2) (cos t + sin(t) / 2); learned, c is a sigmoid."""
    y0 = torch.randn(5, 3, dtype=torch.float64)
    block = ODEBlock(HeavyBall(Spring(1.25), 1.0), 0.0, 2.0, TIGHT, Discrete())
    y, _ = block(torch.cat([y0, 0 * y0], dim=1)).chunk(2, dim=1)
    t = torch.tensor(2.0).double()
    expected = y0 * (-t / 2).exp() * (t.cos() + t.sin() / 2)
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
    learned = HeavyBall(Spring(0.0), None).double()
    v = learned(t, torch.tensor([[0.0, 1.0]], dtype=torch.float64))[0, 1]
    assert v.item() == pytest.approx(-0.0474, abs=1e-4)


@pytest.mark.parametrize("overrides", SHAPES)
@pytest.mark.parametrize("name", ["dense", "odenet"])
def test_every_shape_trains_all_of_its_weights(
    configure: Configure, name: str, overrides: list[str]
) -> None:
    built = model(configure, f"model={name}", "solver=rk4", "solver.n_steps=2", *overrides)
    images = torch.randn(3, *MNIST)
    logits = built(images)
    assert logits.shape == (3, 10)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in built.parameters())
    parts = list(describe(built, MNIST))
    assert len({part for part, _, _ in parts}) == len(parts)
    (*_, (_, _, state), (_, _, end)) = parts
    assert end == (10,)
    assert built.features(images).shape[1:] == state


@pytest.mark.parametrize("overrides", [SHAPES[3], SHAPES[5]])
def test_gradients_of_every_method_agree(configure: Configure, overrides: list[str]) -> None:
    gradients = []
    for name in SENSITIVITIES:
        built = model(
            configure, "solver.tol=1e-7", "precision=float64", f"sensitivity={name}", *overrides
        ).double()
        built(torch.linspace(-1, 1, 2 * 784).view(2, *MNIST).double()).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in built.parameters()]))
    for a, b in pairwise(gradients):
        assert float((a - b).norm() / a.norm()) < 1e-4


def test_augmentation_by_zeros_leaves_what_the_stem_gives(configure: Configure) -> None:
    y = torch.randn(2, 3, 4, 5)
    augmented = Zeros(2)(y)
    assert torch.equal(augmented[:, :3], y)
    assert not augmented[:, 3:].any()
    built = model(configure, "model=conv", "model.augment=5")
    (stem, zeros, ode, head) = describe(built, MNIST)
    assert (stem[2], zeros[2], ode[2]) == ((64, 6, 6), (69, 6, 6), (69, 6, 6))
    assert zeros[1] == "5 zeros appended"
    assert head[1].startswith("GroupNorm(69)")


def test_equal_weights_piecewise_in_time_are_one_set_of_weights(configure: Configure) -> None:
    one = model(configure, "solver=rk4", "solver.n_steps=4")
    four = model(configure, "solver=rk4", "solver.n_steps=1", "model.weights_in_t=4")
    assert parameter_count(four) == parameter_count(one) + 3 * 540
    four.stem.load_state_dict(one.stem.state_dict())
    four.head.load_state_dict(one.head.state_dict())
    for block in four.ode_blocks:
        block.field.load_state_dict(one.core.field.state_dict())
    images = torch.randn(3, *MNIST)
    torch.testing.assert_close(four(images), one(images))
    work = four.take_work()
    assert work is not None
    assert (work.nfe_forward, [part.nfe_forward for part in work.of_blocks]) == (16, [4] * 4)


def test_the_weights_change_at_equal_parts_of_the_interval(configure: Configure) -> None:
    built = model(configure, "model.weights_in_t=3", "model.t0=1", "model.t1=-0.5")
    assert [(b.t0, b.t1) for b in built.ode_blocks] == [(1.0, 0.5), (0.5, 0.0), (0.0, -0.5)]


def test_dropout_stands_around_the_core_and_rests_in_evaluation(configure: Configure) -> None:
    built = model(configure, "model.dropout_before=0.5", "model.dropout_after=0.25")
    assert [words for part, words, _ in describe(built, MNIST) if "core" in part][::2] == [
        "Dropout 0.5",
        "Dropout 0.25",
    ]
    images = torch.randn(3, *MNIST)
    assert not torch.equal(built(images), built(images))
    built.eval()
    assert torch.equal(built(images), built(images))


@pytest.mark.parametrize("core", ["residual", "plain"])
def test_the_controls_have_the_same_state(configure: Configure, core: str) -> None:
    blocks = ["model.blocks=2"] if core == "residual" else []
    built = model(configure, f"model.core={core}", "model.augment=3", *blocks)
    assert built.features(torch.randn(2, *MNIST)).shape == (2, 23)
