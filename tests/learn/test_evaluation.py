"""Evaluation: exact figures, whatever the batch size, and a model left as it was."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.data.batches import Preprocess
from node_cli.data.images import ImageSet
from node_cli.learn.evaluation import Metrics, evaluate, nfe_mean
from node_cli.machine.device import Backend
from node_cli.models.classifier import Classifier, build
from tests.folders import rows, weights
from tests.packages import Installer
from tests.runs import run

Configure = Callable[..., Config]
CPU = torch.device("cpu")
BACKEND = Backend(CPU, "float64", torch.float64)
RAW = Preprocess(torch.float64, CPU, None, None)


def images(n: int = 10) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (n, 1, 28, 28), generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, torch.randint(10, (n,), generator=generator))


@pytest.fixture
def model(configure: Configure, install: Installer) -> Classifier:
    """With BatchNorm, whose statistics are neither those of a new one nor those of ``images``."""
    install(files={}, entries={"fields": {"batch_norm": "tests.runs:BatchNormField"}})
    torch.manual_seed(0)
    config = configure("model.field=batch_norm", "solver=rk4", "solver.n_steps=2")
    model = build(config, (1, 28, 28), 10).double()
    model(torch.rand(20, 1, 28, 28, dtype=torch.float64))
    model.take_work()
    return model


def test_figures_are_those_worked_out_by_hand(model: Classifier) -> None:
    """Over 10 images in batches of 4, 4 and 2."""
    found = evaluate(model, images(), 4, RAW, BACKEND)
    logits = model.eval()(images().pixels.double() / 255).tolist()
    loss = correct = 0.0
    for row, label in zip(logits, images().labels.tolist(), strict=True):
        loss += math.log(sum(math.exp(z) for z in row)) - row[label]
        correct += row[label] == max(row)
    assert found.loss == pytest.approx(loss / 10, rel=1e-12)
    assert found.accuracy == correct / 10
    assert (found.images, found.batches, found.nfe) == (10, 3, 3 * 8)
    assert found.nfe_mean == 8


def test_the_batch_size_makes_no_difference(model: Classifier) -> None:
    whole = evaluate(model, images(), 10, RAW, BACKEND)
    for batch_size in (1, 3, 4, 100):
        found = evaluate(model, images(), batch_size, RAW, BACKEND)
        assert found.loss == pytest.approx(whole.loss, rel=1e-12)
        assert found.accuracy == whole.accuracy


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(model: Classifier, training: bool) -> None:
    model.train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, images(), 4, RAW, BACKEND)
    assert {module.training for module in model.modules()} == {training}
    assert all(torch.equal(before[name], after) for name, after in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    work = model.take_work()
    assert work is not None
    assert work.nfe_forward == 0, "nothing is left to be counted with the next training step"


def test_nfe_per_batch_is_over_the_batches_of_all_splits() -> None:
    def metrics(batches: int, nfe: int | None) -> Metrics:
        return Metrics(images=batches, batches=batches, loss=1.0, accuracy=0.5, nfe=nfe)

    assert nfe_mean({"holdout": metrics(1, 10), "test": metrics(3, 60)}) == 70 / 4
    assert nfe_mean({"test": metrics(3, 60)}) == 20
    assert nfe_mean({"holdout": metrics(1, None), "test": metrics(3, None)}) is None


def test_training_images_to_evaluate_are_drawn_anew_after_each_step(
    configure: Configure, tmp_path: Path
) -> None:
    """The weights do not move, so that the loss changes with the images alone."""
    options = ["data.limit=300", "batch_size=64", "epochs=1", "optimizer.lr=1e-30"]
    options += ["eval.every_steps=1", "eval.train=1", "eval.batch_size=100"]
    first, again = (run(configure(*options), tmp_path / name) for name in ("first", "again"))
    found = {
        split: [row for row in rows(first.evaluations) if row["split"] == split]
        for split in ("train", "test")
    }
    assert {row["images"] for row in found["train"]} == {"100"}
    assert len({row["loss"] for row in found["train"]}) == len(found["train"]) == 5
    assert len({row["loss"] for row in found["test"]}) == 1
    assert rows(first.evaluations) == rows(again.evaluations)


@pytest.mark.parametrize("sensitivity", ["discrete", "backsolve"])
def test_batch_norm_counts_the_forward_evaluations_of_training_alone(
    configure: Configure, tmp_path: Path, install: Installer, sensitivity: str
) -> None:
    install(files={}, entries={"fields": {"batch_norm": "tests.runs:BatchNormField"}})
    options = ["data.limit=300", "batch_size=64", "epochs=2", "model.field=batch_norm"]
    options += ["solver=rk4", "solver.n_steps=2", f"sensitivity={sensitivity}"]
    plain = run(configure(*options), tmp_path / "plain")
    options += ["eval.initial=true", "eval.every_steps=1", "eval.train=all"]
    watched = run(configure(*options), tmp_path / "watched")
    for folder in (plain, watched):
        nfe = sum(int(row["nfe_forward"]) for row in rows(folder.steps))
        assert nfe == 10 * 8
        assert weights(folder.last)["core.field.norm.num_batches_tracked"] == nfe
    for name, tensor in weights(plain.last).items():
        assert torch.equal(tensor, weights(watched.last)[name]), name
