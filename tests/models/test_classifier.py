"""The shipped models: exact sizes, the cores' relations, initialisation, precision."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.models.blocks import ODEBlock, ResidualStack
from node_cli.models.classifier import Classifier, build
from node_cli.models.describe import describe, parameter_count
from node_cli.models.fields import FIELDS
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Checkpointed, Discrete
from node_cli.ode.sensitivity.gauss import Gauss
from node_cli.ode.sensitivity.interpolating import Interpolating
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Solver
from tests.models.states import state

Configure = Callable[..., Config]
MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def model(configure: Configure, *overrides: str, image: tuple[int, ...] = MNIST) -> Classifier:
    torch.manual_seed(0)
    return build(configure(*overrides), image, 10)


@pytest.mark.parametrize(
    ("overrides", "parameters"),
    [
        (["model=dense"], 16_450),
        (["model=conv"], 206_730),
        (["model=odenet"], 208_266),
        (["model=resnet"], 576_778),
        (["model=mlp"], 238_510),
        (["model=conv_dense"], 87_532),
        (["model=conv_bn"], 208_010),
        (["model=anode"], 85_462),
        (["model=dense", "model.core=none"], 16_450 - 540),
        (["model=dense", "model.core=plain"], 16_450),
        (["model=conv", "model.core=none"], 206_730 - 73_856),
        (["model=conv", "model.core=plain"], 206_730),
        (["model=conv", "model.core=residual", "model.blocks=2"], 206_730 + 73_856),
    ],
)
def test_exact_number_of_parameters(
    configure: Configure, overrides: list[str], parameters: int
) -> None:
    assert parameter_count(model(configure, *overrides)) == parameters


@pytest.mark.parametrize(
    "name", ["dense", "conv", "conv_dense", "conv_bn", "odenet", "resnet", "mlp"]
)
@pytest.mark.parametrize("image", [MNIST, CIFAR])
def test_every_model_maps_images_to_logits(
    configure: Configure, name: str, image: tuple[int, ...]
) -> None:
    classifier = model(configure, f"model={name}", image=image)
    logits = classifier(torch.randn(3, *image))
    assert logits.shape == (3, 10)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in classifier.parameters())
    (*_, (_, _, shape)) = describe(classifier, image)
    assert shape == (10,)


def test_the_conv_stem_gives_64_6_6(configure: Configure) -> None:
    stem, core, _ = describe(model(configure, "model=conv"), MNIST)
    assert stem[2] == core[2] == (64, 6, 6)


@pytest.mark.parametrize("field", FIELDS)
def test_one_euler_step_of_size_one_is_a_residual_block(field: str) -> None:
    torch.manual_seed(0)
    f = FIELDS[field](state(field)).double()
    y = torch.randn(4, *state(field), dtype=torch.float64)
    ode = ODEBlock(f, 0.0, 1.0, Solver("euler", n_steps=1), Discrete())
    torch.testing.assert_close(ode(y), ResidualStack([f], 0.0)(y), rtol=0, atol=1e-14)


def test_one_euler_step_is_a_residual_block_under_autocast_too(configure: Configure) -> None:
    """f in bfloat16, its sum with the state in float32, in both."""
    images = torch.randn(3, *MNIST)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ode = model(configure, "model=odenet", "solver=euler", "solver.n_steps=1")(images)
        residual = ["model.core=residual", "model.blocks=1"]
        block = model(configure, "model=odenet", *residual)(images)
    assert torch.equal(ode, block)


def test_the_interval_is_from_0_to_1_unless_told_otherwise(configure: Configure) -> None:
    """One Euler step over it has the length 1, and so equals one residual block."""
    images = torch.randn(3, *MNIST)
    ode = model(configure, "model=odenet", "solver=euler", "solver.n_steps=1")
    block = model(configure, "model=odenet", "model.core=residual", "model.blocks=1")
    torch.testing.assert_close(ode(images), block(images))


def test_an_interval_and_the_way_back(configure: Configure) -> None:
    """From t0 to t1 and from t1 to t0 the same ODE leads back to where it began."""
    tight = ["precision=float64", "solver=dopri8", "solver.tol=1e-10"]
    there = model(configure, *tight, "model.t0=-1", "model.t1=2").core.double()
    back = model(configure, *tight, "model.t0=2", "model.t1=-1").core.double()
    y = torch.randn(3, 20, dtype=torch.float64)
    end = there(y)
    torch.testing.assert_close(back(end), y, rtol=0, atol=1e-8)
    a, b = model(configure, *tight, "model.t0=-1", "model.t1=0.5").core.double(), there
    rest = model(configure, *tight, "model.t0=0.5", "model.t1=2").core.double()
    torch.testing.assert_close(rest(a(y)), b(y), rtol=0, atol=1e-8)


adaptive = partial(Solver, controller="integral")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], Discrete()),
        (["sensitivity=checkpointed"], Checkpointed()),
        (
            ["sensitivity=gauss", "sensitivity.solver=rk4", "solver=heun3", "solver.n_steps=2"],
            Gauss(Solver("rk4", n_steps=2)),
        ),
        (
            ["sensitivity=interpolating", "solver.tol=1e-4", "solver.max_steps=9"],
            Interpolating("seminorm", adaptive("dopri5", rtol=1e-4, atol=1e-4, max_steps=9)),
        ),
        (
            [
                "sensitivity=interpolating",
                "sensitivity.norm=null",
                "solver=rk4",
                "solver.n_steps=3",
            ],
            Interpolating(solver=Solver("rk4", n_steps=3)),
        ),
        (
            ["sensitivity=backsolve", "solver.tol=1e-4"],
            Backsolve("full", adaptive("dopri5", rtol=1e-4, atol=1e-4, max_steps=10_000)),
        ),
        (
            [
                *("sensitivity=backsolve", "sensitivity.norm=seminorm", "sensitivity.solver=tsit5"),
                *("sensitivity.rtol=1e-5", "sensitivity.atol=1e-7", "solver.max_steps=50"),
            ],
            Backsolve("seminorm", adaptive("tsit5", rtol=1e-5, atol=1e-7, max_steps=50)),
        ),
        (
            ["sensitivity=backsolve", "sensitivity.solver=euler", "solver=rk4", "solver.n_steps=3"],
            Backsolve("full", Solver("euler", n_steps=3)),
        ),
    ],
)
def test_the_sensitivity_is_the_configured_one(
    configure: Configure, overrides: list[str], expected: Sensitivity
) -> None:
    core = model(configure, *overrides).core
    assert core.sensitivity == expected
    assert core.solver == configure(*overrides).forward_solver()


@pytest.mark.parametrize("field", FIELDS)
def test_fields_keep_shape_and_depend_on_time_if_they_say_so(field: str) -> None:
    f, y = FIELDS[field](state(field)), torch.randn(4, *state(field))
    early, late = f(torch.tensor(0.0), y), f(torch.tensor(1.0), y)
    assert early.shape == y.shape
    assert torch.equal(early, late) == ("time" not in field)


def test_plain_and_none_share_the_other_parts(configure: Configure) -> None:
    """model.core=plain applies f once; none leaves it out."""
    images = torch.randn(2, *MNIST)
    plain = model(configure, "model=dense", "model.core=plain")
    state = plain.stem(images)
    field = plain.core.field
    torch.testing.assert_close(plain(images), plain.head(field(torch.tensor(0.0), state)))
    none = model(configure, "model=dense", "model.core=none")
    torch.testing.assert_close(none(images), none.head(none.stem(images)))


def test_glorot_initialisation(configure: Configure) -> None:
    classifier = model(configure, "model=conv", "model.init=glorot")
    for layer in classifier.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            receptive = layer.weight[0, 0].numel() if isinstance(layer, nn.Conv2d) else 1
            fan_sum = (layer.weight.shape[0] + layer.weight.shape[1]) * receptive
            bound = (6 / fan_sum) ** 0.5
            assert layer.weight.abs().max() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)
            assert not layer.bias.any()


def test_the_state_is_float32_under_autocast(configure: Configure) -> None:
    classifier = model(configure, "model=conv")
    dtypes = set()
    classifier.core.register_forward_hook(lambda *a: dtypes.add(a[2].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        classifier(torch.randn(2, *MNIST)).sum().backward()
    assert dtypes == {torch.float32}


def test_work_is_counted_per_batch_and_taken_once(configure: Configure) -> None:
    classifier = model(configure, "solver=rk4", "solver.n_steps=3")
    classifier(torch.randn(2, *MNIST)).sum().backward()
    work = classifier.take_work()
    assert work is not None
    assert (work.nfe_forward, work.vjps_backward) == (12, 12)
    again = classifier.take_work()
    assert again is not None
    assert again.nfe_forward == 0
    assert model(configure, "model=mlp").take_work() is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.field=conv", r"model\.field=conv: needs an image .* gives \[20\]"),
        ("model.head=pool", r"model\.head=pool: needs an image"),
        ("model.stem=convv", r"model\.stem=convv: choose from .* \(did you mean conv\?\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    configure: Configure, override: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        model(configure, "model=dense", override)
