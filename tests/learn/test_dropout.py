"""Dropout around the ODE block, which draws from torch's own generator."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node_cli.config.schema import Config
from node_cli.records.run_folder import RunFolder
from tests.folders import rows
from tests.runs import go_on, run, run_and_kill

Configure = Callable[..., Config]


def test_a_resumed_run_draws_what_an_uninterrupted_one_draws(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(
        *("data.limit=150", "epochs=1", "batch_size=32", "train.checkpoint_every=2"),
        *("model.dropout_before=0.3", "model.dropout_after=0.3", "solver.first_step=warm"),
        *("model.weights_in_t=2", "sensitivity=backsolve"),
    )
    whole = run(config, tmp_path / "whole")
    run_and_kill(config, tmp_path / "killed", 3, monkeypatch)
    killed = RunFolder(tmp_path / "killed")
    go_on(killed)
    losses = [[row["loss"] for row in rows(f.path / "steps.csv")] for f in (killed, whole)]
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 5
