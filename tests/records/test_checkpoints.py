"""Checkpoints hold all that the rest of a training depends on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node_cli.config.schema import Config
from tests.folders import assert_same_run
from tests.packages import Installer
from tests.runs import run, run_and_kill

Configure = Callable[..., Config]


@pytest.mark.parametrize("killed_at", [9, 7])  # resumed within an epoch, from step 8; after one, 5
def test_a_model_that_draws_random_numbers_goes_on_drawing_them(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    install: Installer,
    killed_at: int,
) -> None:
    install(files={}, entries={"stems": {"dropout": "tests.runs:dropout_stem"}})
    options = ["model.stem=dropout", "data.limit=200", "batch_size=32", "data.holdout=0.2"]
    config = configure(*options, "epochs=3", "train.checkpoint_every=4")  # 5 steps an epoch
    whole = run(config, tmp_path / "whole")
    run_and_kill(config, tmp_path / "killed", killed_at, monkeypatch)
    assert_same_run(whole, run(config, tmp_path / "killed"))
