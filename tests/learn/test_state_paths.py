"""The paths of hidden coordinates: those of the network itself."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.learn.classification import Classification
from node_cli.learn.state_paths import COORDINATES, INTERVALS, paths
from node_cli.tasks.setup import Setup
from tests.folders import rows
from tests.runs import run

Configure = Callable[..., Config]


def objective(config: Config) -> Classification:
    found = Setup(config).objective
    assert isinstance(found, Classification)
    return found


@pytest.mark.parametrize(
    ("overrides", "points", "tolerance"),
    [
        (["solver=dopri5", "solver.tol=1e-5"], INTERVALS + 1, 1e-5),
        (["solver=rk4", "solver.n_steps=3"], 4, 1e-6),
        (["solver=euler", "solver.step_size=0.05"], 21, 1e-6),
        (["solver=implicit_adams", "solver.n_steps=8"], 9, 1e-2),
    ],
)
def test_a_path_ends_in_what_the_head_sees(
    configure: Configure, overrides: list[str], points: int, tolerance: float
) -> None:
    learnt = objective(configure("solver.max_nfe=200", *overrides))
    images = learnt.images["test"]
    found = list(paths(learnt.model, images, learnt.preprocess, learnt.backend))
    assert len(found) == COORDINATES * 10 * points
    first = [int((images.labels == label).nonzero()[0, 0]) for label in range(10)]
    with torch.no_grad():
        pixels = learnt.preprocess(images.pixels[first])
        before, after = learnt.model.stem(pixels), learnt.model.features(pixels)
    for row in found:
        expected = {0.0: before, 1.0: after}.get(row["t"])
        if expected is not None:
            y = float(expected[row["label"], row["coordinate"]])
            assert row["y"] == pytest.approx(y, abs=tolerance)
    moved = (after - before).abs().mean(0)
    assert {row["coordinate"] for row in found} == set(moved.topk(COORDINATES).indices.tolist())


def test_looking_changes_nothing(configure: Configure) -> None:
    learnt = objective(configure("solver.first_step=warm"))
    learnt.model.train()
    list(paths(learnt.model, learnt.images["test"], learnt.preprocess, learnt.backend))
    work = learnt.model.take_work()
    assert work is not None
    assert work.nfe_forward == 0
    assert learnt.model.training
    assert [start.size for start in learnt.model.warm_starts()] == [None]


def test_a_run_records_them_and_one_without_an_ode_has_none(
    configure: Configure, tmp_path: Path
) -> None:
    small = ("data.limit=150", "epochs=1")
    folder = run(configure(*small), tmp_path / "ode")
    assert len(rows(folder.paths)) == COORDINATES * 10 * (INTERVALS + 1)
    assert not run(configure(*small, "model.core=plain"), tmp_path / "plain").paths.exists()
