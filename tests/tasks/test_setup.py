"""What the model receives: the images as the configuration says, in training and in evaluation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from node_cli.config.schema import Config
from node_cli.data.catalog import IMAGES
from node_cli.models.classifier import Classifier
from node_cli.tasks.setup import Setup
from tests.runs import in_rows, run, watched_models

Configure = Callable[..., Config]


@dataclass
class Received:
    """Batches in the order in which a model got them."""

    training: list[Tensor] = field(default_factory=list)
    evaluation: list[Tensor] = field(default_factory=list)


@pytest.fixture
def receive(configure: Configure, tmp_path: Path) -> Callable[..., Received]:
    def receive(*overrides: str, name: str = "run") -> Received:
        received = Received()

        def see(model: Classifier, images: Tensor) -> None:
            (received.training if model.training else received.evaluation).append(images.clone())

        with watched_models(see):
            run(configure("model=mlp", "batch_size=100", *overrides), tmp_path / name)
        return received

    return receive


Receive = Callable[..., Received]


def test_training_is_augmented_where_asked_for_and_evaluation_never(receive: Receive) -> None:
    options = ["data.limit=200", "data.holdout=0.1", "epochs=2", "eval.train=all"]
    plain = receive(*options, name="plain")
    moved = receive(*options, "data.augment=[crop]", name="moved")
    assert len(plain.training) == len(moved.training) == 4
    # 180 training images in two batches; 20 + 359 + 180 images to evaluate in 1 + 4 + 2.
    for epoch in (plain.training[:2], plain.training[2:]):
        assert torch.equal(in_rows(epoch), in_rows(plain.evaluation[5:7]))
    same = [torch.equal(a, b) for a, b in zip(plain.training, moved.training, strict=True)]
    assert not any(same)
    assert not torch.equal(in_rows(moved.training[:2]), in_rows(moved.training[2:])), "drawn anew"
    assert len(plain.evaluation) >= 14, "and what the pictures show"
    for a, b in zip(plain.evaluation, moved.evaluation, strict=True):
        assert torch.equal(a, b)


def test_images_are_normalised_in_training_and_in_evaluation(receive: Receive) -> None:
    received = receive("data.holdout=0", "epochs=1")
    for images in (torch.cat(received.training), torch.cat(received.evaluation)):
        assert images.mean().item() == pytest.approx(0, abs=0.02)
        assert images.std().item() == pytest.approx(1, abs=0.02)


def test_images_lie_in_0_1_where_they_are_not_normalised(receive: Receive) -> None:
    received = receive("data.holdout=0", "epochs=1", "data.normalize=false")
    for images in (torch.cat(received.training), torch.cat(received.evaluation)):
        assert (images.min().item(), images.max().item()) == pytest.approx((0, 1))
        assert images.mean().item() == pytest.approx(0.305, abs=0.01)


@pytest.mark.parametrize("name", IMAGES)
def test_augmentation_mirrors_photographs_alone(
    receive: Receive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Every image here grows brighter from left to right, and goes on doing so when it is moved."""
    known = IMAGES[name]
    channels, width, _ = known.shape if name != "digits" else (1, 8, 8)
    ramp = np.tile(np.linspace(4, 16, width), (200, width, 1))  # digits: 0..16
    labels = np.arange(200) % 10

    class Fake:
        def __init__(self, *_: Any, **__: Any) -> None:
            pixels = (ramp * 15).astype(np.uint8)
            pixels = pixels.swapaxes(1, 2) if known.transposed else pixels
            self.data = np.stack([pixels] * 3, axis=-1) if channels == 3 else pixels
            self.targets = labels

    if name == "digits":
        table = torch.from_numpy(np.column_stack([ramp.reshape(200, -1), labels]))
        monkeypatch.setattr("node_cli.data.sources._digits_of_sklearn", lambda: table)
        options = []
    else:
        monkeypatch.setattr(f"torchvision.datasets.{IMAGES[name].torchvision}", Fake)
        options = [f"data.root={tmp_path}"]
    received = receive(
        f"data={name}", *options, "epochs=1", f"data.augment=[crop{',flip' * known.flips}]"
    )
    images = torch.cat(received.training)
    mirrored = images[..., 16:20].mean((1, 2, 3)) < images[..., 8:12].mean((1, 2, 3))
    if known.flips:
        assert 0.3 < mirrored.double().mean() < 0.7
    else:
        assert not mirrored.any()
    evaluated = torch.cat(received.evaluation)
    assert (evaluated[..., 16:20].mean((1, 2, 3)) > evaluated[..., 8:12].mean((1, 2, 3))).all()


def test_compiling_steps_that_no_batch_fills_is_told(
    configure: Callable[..., Config],
) -> None:
    setup = Setup(configure("data.limit=100", "batch_size=91", "data.holdout=0.1"))
    setup.model.is_compiled = True
    assert setup._compiled() == ("; no training step is compiled, all batches are below 91 images")
    setup = Setup(configure("data.limit=100", "batch_size=90", "data.holdout=0.1"))
    setup.model.is_compiled = True
    assert setup._compiled().startswith(", compiled in the first step")
