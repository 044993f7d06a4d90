"""Times: training alone, evaluation apart, whatever comes between. A clock that models move."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node_cli.config.schema import Config
from node_cli.models.classifier import Classifier
from node_cli.records.run_folder import RunFolder
from tests.folders import rows
from tests.runs import run, run_and_kill, watched_models

Configure = Callable[..., Config]
# An epoch: 270 images in 5 training batches, and 3 evaluations of 1 + 3 batches each.
OPTIONS = ["data.limit=300", "batch_size=64", "epochs=2", "eval.batch_size=128"]
OPTIONS += ["eval.every_steps=2", "train.checkpoint_every=3"]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A batch takes a second in training and a hundred in evaluation; nothing else takes time."""
    now = 0.0

    def pass_time(model: Classifier, _: object) -> None:
        nonlocal now
        now += 1.0 if model.training else 100.0

    monkeypatch.setattr("node_cli.learn.loop.time.perf_counter", lambda: now)
    with watched_models(pass_time):
        yield


def assert_times(folder: RunFolder) -> None:
    assert [float(row["seconds"]) for row in rows(folder.steps)] == [1.0] * 10
    for row in rows(folder.epochs):
        assert float(row["seconds"]) == 5.0
        assert float(row["eval_seconds"]) == 3 * 4 * 100.0
        assert float(row["images_per_s"]) == 270 / 5.0
    assert folder.read_result()["seconds"] == 10.0


def test_seconds_are_those_of_training_and_add_up(configure: Configure, tmp_path: Path) -> None:
    assert_times(run(configure(*OPTIONS), tmp_path / "run"))


def test_an_interruption_loses_no_seconds_and_counts_none_twice(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(*OPTIONS)
    run_and_kill(config, tmp_path / "run", 4, monkeypatch)  # the checkpoint is from step 3
    assert_times(run(config, tmp_path / "run"))
