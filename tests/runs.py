"""Runs, model parts with random numbers or statistics, and a look at what a model receives."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from node_cli.cli.resume import resumed
from node_cli.config.schema import Config
from node_cli.models.classifier import Classifier
from node_cli.models.shape import Shape
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute


def run(config: Config, path: Path) -> RunFolder:
    """Start, or go on with, the run in this folder, to its end."""
    folder = RunFolder(path)
    folder.path.mkdir(exist_ok=True)
    execute(config, folder, [])
    assert folder.read_status()["status"] == "done"
    return folder


def go_on(folder: RunFolder, **typed: object) -> None:
    """What resume= does, with these keys typed (``data__root`` for data.root)."""
    found = resumed(folder, {key.replace("__", "."): v for key, v in typed.items()})
    assert found is not None
    execute(found[0], folder, [])


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the code catches it."""


def run_and_kill(config: Config, path: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a run that dies once this step is recorded."""

    def die(self: object, progress: object, row: dict[str, int]) -> None:
        if row["step"] == step:
            raise Killed

    path.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("node_cli.tasks.terminal.Terminal.step", die)
        with pytest.raises(Killed):
            execute(config, RunFolder(path), [])


def dropout_stem(image: Shape) -> nn.Sequential:
    """Draws from torch's global generator in training, and in training alone."""
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(prod(image), 20), nn.Tanh())


class BatchNormField(nn.Module):
    """Its output depends on the whole batch in training, and on what it has counted afterwards."""

    def __init__(self, state: Shape) -> None:
        super().__init__()
        (width,) = state
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.norm(self.linear(y)).tanh()


@contextmanager
def watched_models(see: Callable[[Classifier, Tensor], None]) -> Iterator[None]:
    """Calls ``see(model, images)`` before every pass through any model."""
    features = Classifier.features

    def watched(self: Classifier, images: Tensor) -> Tensor:
        see(self, images)
        return features(self, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classifier, "features", watched)
        yield


def in_rows(images: list[Tensor]) -> Tensor:
    """A sorted table with a row for each image: equal for the same images in any order."""
    return torch.cat(images).flatten(1).unique(dim=0)
