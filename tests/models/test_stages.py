"""Several ODE blocks in one model: NODE18, ContinuousNet."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.models.classifier import Classifier, build
from node_cli.models.describe import parameter_count
from node_cli.ode.sensitivity.methods import SENSITIVITIES
from tests.folders import rows
from tests.ode.sensitivity.test_memory import Kept, bytes_alive
from tests.runs import run

Configure = Callable[..., Config]
CIFAR = (3, 32, 32)
PUBLISHED = ["model=node18", "solver=adaptive_heun", "solver.tol=1e-2"]
SMALL = [
    "model=node18",
    "model.stem_options.channels=4",
    "model.stages=[{channels:4,blocks:1,entry:residual,stride:1},"
    "{channels:8,blocks:2,entry:conv,stride:2,field:conv_time},"
    "{channels:8,blocks:1,entry:none,stride:1,field:conv}]",
]


def model(configure: Configure, *overrides: str) -> Classifier:
    torch.manual_seed(0)
    return build(configure(*overrides), CIFAR, 10)


def test_node18_has_the_size_of_resnet18(configure: Configure) -> None:
    """And so has the same model with residual blocks; ContinuousNet has the published 0.27 M."""
    for core in ("ode", "residual", "plain"):
        built = model(configure, "model=node18", f"model.core={core}")
        assert parameter_count(built) == 11_173_962
    assert parameter_count(model(configure, "model=continuousnet")) == 272_986


@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
def test_every_gradient_method_trains_all_stages(configure: Configure, sensitivity: str) -> None:
    built = model(configure, *SMALL, f"sensitivity={sensitivity}", "solver.tol=1e-2")
    built(torch.randn(2, *CIFAR)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in built.parameters())
    work = built.take_work()
    assert work is not None
    assert len(work.of_blocks) == 4
    for count in ("nfe_forward", "nfe_backward", "vjps_backward"):
        parts = [getattr(part, count) for part in work.of_blocks]
        assert getattr(work, count) == sum(parts)
        assert sensitivity == "discrete" or all(parts)


def test_the_work_of_each_block_is_recorded(configure: Configure, tmp_path: Path) -> None:
    stages = "[{channels:2,blocks:1,entry:conv,stride:4},{channels:4,blocks:2,entry:conv,stride:2}]"
    config = configure(
        *("model=node18", "model.stem_options.channels=1", f"model.stages={stages}"),
        *("data.limit=16", "batch_size=8", "eval.batch_size=400", "epochs=1"),
        *("sensitivity=backsolve", "solver.tol=1e-1", "regularize=[kinetic]"),
    )
    steps = rows(run(config, tmp_path).steps)
    counts = ("nfe_forward", "nfe_backward")
    assert [*steps[0]][-6:] == [f"{name}_block_{i}" for i in (1, 2, 3) for name in counts]
    for row in steps:
        for name in counts:
            parts = [int(row[f"{name}_block_{i}"]) for i in (1, 2, 3)]
            assert all(parts) and sum(parts) == int(row[name])


def test_one_euler_step_in_each_block_is_the_resnet(configure: Configure) -> None:
    ode = model(configure, *SMALL, "solver=euler", "solver.n_steps=1")
    resnet = model(configure, *SMALL, "model.core=residual")
    images = torch.randn(2, *CIFAR)
    torch.testing.assert_close(ode(images), resnet(images))


def test_without_cores_the_entries_are_left(configure: Configure) -> None:
    none = model(configure, *SMALL, "model.core=none")
    assert none.features(torch.randn(2, *CIFAR)).shape == (2, 8, 16, 16)
    assert none.take_work() is None


@pytest.mark.slow
@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
def test_node18_trains_a_step_with_every_gradient_method(
    configure: Configure, sensitivity: str
) -> None:
    built = model(configure, *PUBLISHED, f"sensitivity={sensitivity}")
    built(torch.randn(2, *CIFAR)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in built.parameters())


@pytest.mark.slow
def test_checkpointed_keeps_a_third_of_what_discrete_keeps_of_node18(configure: Configure) -> None:
    """Between the passes, beside the weights, at the published tolerance."""
    kept = {}
    for name in ("discrete", "checkpointed"):
        built, images = model(configure, *PUBLISHED, f"sensitivity={name}"), torch.randn(4, *CIFAR)
        before = bytes_alive()
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
            loss = built(images).sum()
        kept[name] = bytes_alive() - before
        loss.backward()
        del built, loss
    assert kept["checkpointed"] <= kept["discrete"] / 3, kept


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("[{channels:8,blocks:1,entry:none,stride:1}]", r"model\.stages\.0\.entry=none: leads"),
        ("[{channels:8,blocks:1,entry:pool,stride:1}]", r"stages\.0\.entry=pool: choose from none"),
        ("[{channels:8,blocks:0,entry:conv,stride:1}]", r"model\.stages\.0\.blocks=0: must be"),
        ("[{channels:8,entry:conv,stride:1}]", r"model\.stages\.0\.blocks: missing"),
        (
            "[{channels:8,blocks:1,entry:conv,stride:1,x:1}]",
            r"\.0\.x=1: no such key; a stage has",
        ),
        ("[{channels:64,blocks:1,entry:conv,stride:1,field:cnv}]", "cnv: choose from .*conv"),
        ("[{channels:64,blocks:1,entry:conv,stride:1,field:mlp}]", "mlp: needs a vector"),
        ("[]", r"model\.stages=\[\]"),
    ],
)
def test_wrong_stages_are_one_line(configure: Configure, stages: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        model(configure, "model=node18", f"model.stages={stages}")
    assert len(caught.value.problems) == 1
