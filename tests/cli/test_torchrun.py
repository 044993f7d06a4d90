"""Several processes train one model, as torchrun starts them."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.machine.ranks import ALONE, Several
from node_cli.ode.failures import SolveFailed
from node_cli.ode.sensitivity.methods import SENSITIVITIES
from node_cli.records.files import read_csv
from node_cli.records.run_folder import RunFolder
from tests.commands import NodeTrain
from tests.folders import rows
from tests.ranks import ended, start, together

pytestmark = pytest.mark.usefixtures("undrawn")

FIXED = ["solver=rk4", "solver.n_steps=2", "precision=float64"]
SMALL = ["device=cpu", "data.limit=90", "data.holdout=0.1", "epochs=2", "hydra.run.dir=run"]

# 81 images: batches of 20, each in groups of 10 of which three processes take 4, 3 and 3; and a
# last one of one image, of which two of them have none.
BUSY = [
    *(*SMALL, "batch_size=20", "train.accumulate=2", "train.ema=0.9", "train.label_smoothing=0.1"),
    *("data.augment=[crop,erasing,mixup]", "eval.train=1", "eval.batch_size=7"),
    *("regularize=[kinetic]", "optimizer.grad_clip=1", "eval.every_steps=3"),
]


def one_process(folder: Path, node_train: NodeTrain, *arguments: str) -> RunFolder:
    """The run of one process, in a folder beside."""
    found = folder / "one"
    assert node_train(*arguments, f"hydra.run.dir={found}").code == 0
    return RunFolder(found)


def assert_equal(one: RunFolder, several: RunFolder, tolerance: float = 1e-12) -> None:
    """Weights, optimizer and records are those of one process, times and memory aside."""
    a, b = (torch.load(run.last, weights_only=True) for run in (one, several))
    for name, value in a["model"].items():
        assert torch.allclose(value.double(), b["model"][name].double(), 0, tolerance), name
    for key in ("progress", "first_steps", "inputs"):
        left, right = a[key], b[key]
        if key == "progress":
            left, right = left | {"sums": None}, right | {"sums": None}
        assert left == right
    for file in ("steps.csv", "epochs.csv", "evaluations.csv"):
        for left, right in zip(rows(one.path / file), rows(several.path / file), strict=True):
            for column, cell in left.items():
                if "second" in column or column in ("images_per_s", "peak_memory_mib"):
                    continue
                if cell == right[column]:
                    continue
                error = abs(float(cell) - float(right[column]))
                assert error <= 100 * tolerance * max(1.0, abs(float(cell))), (file, column)


def test_three_processes_are_one(node_train: NodeTrain, tmp_path: Path) -> None:
    """Whatever a step is made of: groups, unequal parts, no part at all, mixed images, penalties;
    and the others are silent."""
    one = one_process(tmp_path, node_train, *BUSY, *FIXED)
    first, *others = together(3, *BUSY, *FIXED, folder=tmp_path)
    assert first.code == 0, first.out
    assert all(other.code == 0 and other.out == "" for other in others), others
    assert "processes    3, each computes 3 or 4 of 10 images" in first.out
    assert_equal(one, RunFolder(tmp_path / "run"))
