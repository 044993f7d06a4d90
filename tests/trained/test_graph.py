"""A model written out as one graph answers as its solver does."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from node_cli.config.schema import Config
from node_cli.data.inputs import Inputs
from node_cli.models import classifier
from node_cli.ode.solver import METHODS, Solver
from node_cli.ode.unrolled import Unrolled, can_be_unrolled
from node_cli.records import safetensors
from node_cli.trained.graph import Graph
from node_cli.trained.model import TrainedModel
from tests.ode.problems import FIXED, MLP, solve, start, times

Configure = Callable[..., Config]
RK4 = "solver=rk4"


@pytest.mark.parametrize("solver", [*(Solver(name, n_steps=3) for name in FIXED)], ids=str)
@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.5, -0.5)])
def test_it_takes_the_steps_of_the_solver(solver: Solver, ends: tuple[float, float]) -> None:
    f, y0 = MLP(), start().detach()
    expected, _ = solve(f, y0, times(*ends), solver)
    with torch.no_grad():
        assert torch.equal(Unrolled(f, *ends, solver)(y0), expected[-1])


def test_what_can_be_unrolled() -> None:
    found = {n for n, m in METHODS.items() if can_be_unrolled(Solver(n, **_needed(m.kind)))}
    assert found == {*FIXED}
    assert not can_be_unrolled(Solver("rk4", n_steps=2, jump_t=(0.5,)))
    assert can_be_unrolled(Solver("rk4", step_size=0.3, engine="torchdiffeq"))


def _needed(kind: str) -> dict[str, float]:
    return {"rtol": 1e-3, "atol": 1e-3} if kind in ("adaptive", "scipy") else {"step_size": 0.1}


class Recording(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.t: list[float] = []

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.t.append(float(t))
        return -y


def test_f_is_evaluated_as_often() -> None:
    """And never where the result does not depend on it."""
    f = Recording()
    Unrolled(f, 0.0, 1.0, Solver("rk4", n_steps=2))(torch.ones(1))
    assert f.t == pytest.approx([0, 1 / 6, 1 / 3, 0.5, 0.5, 2 / 3, 5 / 6, 1.0])


@pytest.mark.parametrize(
    "typed",
    [
        [RK4],
        ["solver=midpoint", "solver.step_size=0.4", "model.t0=1", "model.t1=-0.5"],
        [RK4, "model=conv", "precision=float64"],
        ["model.core=none"],
        ["model=resnet", "model.blocks=2"],
        [RK4, "model.augment=3", "model.dynamics=heavy_ball", "model.weights_in_t=2"],
        ["solver=euler", "model=anode", "data.normalize=false"],
        ["solver=euler", "model=conv_bn", "eval.batch_norm=running"],
        [RK4, "model.dropout_before=0.5", "model.field_call=functional"],
    ],
    ids=lambda typed: " ".join(typed),
)
def test_every_kind_of_model(configure: Configure, typed: list[str]) -> None:
    config = configure(*typed)
    torch.manual_seed(0)
    shape = [1, 28, 28]
    inputs = Inputs(shape, [0.3], [0.4], "0123456789")
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    model = TrainedModel(config, classifier.build(config, (1, 28, 28), 10).to(dtype), inputs)
    images = torch.rand(3, *shape, dtype=dtype)
    with torch.no_grad():
        torch.testing.assert_close(Graph(model)(images), model(images), rtol=1e-6, atol=1e-6)


def test_a_file_of_weights(tmp_path: Path) -> None:
    """What is written is read; numbers of any type, in any layout."""
    weights = {
        "a": torch.arange(6.0).view(2, 3).T,
        "b": torch.tensor(True),
        "c": torch.zeros(0, 3, dtype=torch.float64),
        "d": torch.arange(5, dtype=torch.int64),
        "e": torch.ones(3, dtype=torch.bfloat16),
    }
    path = tmp_path / "weights.safetensors"
    safetensors.save(path, weights, {"format": "pt", "words": 'ä "quoted"'})
    found = safetensors.load(path, "init_from")
    assert found.keys() == weights.keys()
    for name, x in weights.items():
        assert found[name].dtype == x.dtype
        assert torch.equal(found[name], x)
    assert [*tmp_path.iterdir()] == [path]
