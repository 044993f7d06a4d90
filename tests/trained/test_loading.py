"""A trained model classifies images of any kind as the evaluation of its run did."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from node_cli import load
from node_cli.config.schema import Config
from node_cli.data import sources
from node_cli.data.images import ImageSet
from node_cli.errors import UserError
from node_cli.records.run_folder import RunFolder
from node_cli.trained.model import TrainedModel
from tests.commands import composed
from tests.folders import rows
from tests.runs import run

Configure = Callable[..., Config]
QUICK = ("data.limit=300", "epochs=2", "train.checkpoint_every=5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on digits with an adaptive solver."""
    (job,) = composed(*QUICK)
    return run(job.config, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def model(folder: RunFolder) -> TrainedModel:
    return load(folder.path)


@pytest.fixture(scope="module")
def test_images(folder: RunFolder) -> ImageSet:
    (job,) = composed(*QUICK)
    return sources.load(job.config.image_data, job.config.seed)["test"]


def pictures(images: ImageSet) -> list[Image.Image]:
    return [Image.fromarray(pixels[0].numpy()) for pixels in images.pixels]


def test_it_is_the_evaluated_model(folder: RunFolder, test_images: ImageSet) -> None:
    """last.pt has the test accuracy of the last epoch, in batches of the same size."""
    model = load(folder.last)
    correct = 0
    for pixels, labels in zip(
        test_images.pixels.split(128), test_images.labels.split(128), strict=True
    ):
        names = model.predict(pixels)
        assert model.nfe == 14
        correct += sum(
            name == str(label) for name, label in zip(names, labels.tolist(), strict=True)
        )
    expected = [r for r in rows(folder.evaluations) if r["split"] == "test"][-1]
    assert correct / len(test_images) == float(expected["accuracy"])


def test_all_kinds_of_images(model: TrainedModel, test_images: ImageSet) -> None:
    """The same images as uint8, as floats, in colour, one by one, as PIL images."""
    some = test_images[:5]
    expected = model(some.pixels)
    assert expected.shape == (5, 10)
    torch.testing.assert_close(expected.sum(1), torch.ones(5))
    for other in (
        pictures(some),
        [picture.convert("RGB") for picture in pictures(some)],
        some.pixels / 255,
        some.pixels.double() / 255,
        some.pixels.expand(-1, 3, -1, -1),
        [*some.pixels],
        [*(some.pixels[:, 0] / 255)],
    ):
        torch.testing.assert_close(model(other), expected, rtol=1e-4, atol=1e-5)
    assert model.predict(pictures(some)[0]) == model.predict(some.pixels[0])


@pytest.mark.parametrize("size", [(28, 28), (56, 56), (56, 80), (80, 56), (20, 28), (7, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tensor_is_sized_as_a_picture(
    model: TrainedModel, size: tuple[int, int], channels: int
) -> None:
    height, width = size
    y, x = np.mgrid[:height, :width]
    smooth = 127 + 120 * np.sin(6 * x / width) * np.cos(4 * y / height)
    array = np.stack([np.roll(smooth, c, 0) for c in range(channels)], -1).astype(np.uint8)
    picture = Image.fromarray(array.squeeze())
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    found, expected = model.normalised(tensor), model.normalised(picture)
    assert found.shape == expected.shape == (1, 1, 28, 28)
    assert (found - expected).abs().mean() < 0.05, "of a standard deviation"
    torch.testing.assert_close(model.normalised(tensor / 255), found, rtol=1e-4, atol=1e-4)


def test_gradients_reach_the_image(model: TrainedModel, test_images: ImageSet) -> None:
    image = (test_images.pixels[:1] / 255).requires_grad_()
    model(image).max().backward()
    assert image.grad is not None
    assert image.grad.any()
    assert not any(p.requires_grad for p in model.parameters())


def test_the_trajectory_ends_in_what_the_head_sees(
    model: TrainedModel, test_images: ImageSet
) -> None:
    images = test_images.pixels[:3]
    states = model.trajectory(images, [0.0, 0.25, 1.0])
    assert states.shape == (3, 3, 20)
    assert torch.equal(states[0], model.classifier.stem(model.normalised(images)))
    head = model.classifier.head(states[-1]).softmax(1)
    torch.testing.assert_close(head, model(images), rtol=1e-3, atol=1e-3)
    assert torch.equal(model.trajectory(images, torch.tensor([0.25, 1.0])), states[1:])
    assert model.nfe is not None
    assert model.nfe > 14
    with pytest.raises(ValueError, match="strictly increasing or decreasing"):
        model.trajectory(images, [0.5, 0.2])
    with pytest.raises(ValueError, match=r"^block=1: the model has 1 ODE block, counted from 0$"):
        model.trajectory(images, [1.0], block=1)


@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        (torch.zeros(1, 28, 28, dtype=torch.int64), TypeError, "images: int64, must be uint8"),
        (torch.full((28, 28), 200.0), ValueError, "images: from 200 to 200, floating-point"),
        (torch.full((28, 28), torch.nan), ValueError, "images: from nan to nan, floating-point"),
        (torch.zeros(1, 2, 28, 28), ValueError, "images: 2 channels in "),
        (torch.zeros(0, 1, 28, 28), ValueError, r"images: shape \[0, 1, 28, 28\], must be"),
        (torch.zeros(28), ValueError, r"images: shape \[28\], must be"),
        ([], ValueError, "images: an empty list"),
        (np.zeros((28, 28), np.uint8), TypeError, "images: a ndarray; give PIL images"),
        ("a.png", TypeError, "images: a str; give PIL images"),
        (Image.new("I;16", (28, 28)), ValueError, "pixels of mode I;16, must have 8 bits"),
    ],
)
def test_what_is_no_image(
    model: TrainedModel, images: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=f"^{words}"):
        model(images)


def test_without_an_ode(configure: Configure, tmp_path: Path) -> None:
    config = configure(*QUICK, "model.core=none", "precision=float64", "data.normalize=false")
    model = load(run(config, tmp_path / "run").path)
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    assert model(image).dtype == torch.float64
    assert model.nfe is None
    assert not model.normalised(image).any()
    with pytest.raises(ValueError, match=r"^block=None: the model has 0 ODE blocks"):
        model.trajectory(image, [1.0])


@pytest.fixture
def own_images(tmp_path: Path) -> Path:
    """Two classes, bright and dark, in folders."""
    generator = torch.Generator().manual_seed(0)
    for split, count in (("train", 20), ("test", 5)):
        for name, low in (("bright", 128), ("dark", 0)):
            place = tmp_path / "pictures" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = torch.randint(low, low + 128, (12, 16, 3), generator=generator)
                Image.fromarray(pixels.to(torch.uint8).numpy()).save(place / f"{i}.png")
    return tmp_path / "pictures"


def in_folders(configure: Configure, root: Path, *more: str) -> Config:
    given = ("data=folder", f"data.root={root}", "data.size=8", "data.holdout=0")
    return configure(*given, "epochs=8", "batch_size=8", *more)


def test_images_of_ones_own(
    configure: Configure, own_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean and names are in the checkpoint: the images are no longer needed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = run(in_folders(configure, own_images), tmp_path / "run")
    shutil.move(own_images / "test", tmp_path / "test")
    shutil.rmtree(own_images)
    shutil.rmtree(tmp_path / "cache")
    model = load(str(folder.path))
    assert (model.classes, model.shape) == (["bright", "dark"], [3, 8, 8])
    for name in model.classes:
        found = [model.predict(Image.open(p)) for p in sorted((tmp_path / "test" / name).iterdir())]
        assert found == [[name]] * 5

    without_inputs(folder)
    with pytest.raises(UserError, match="of an older version, it does not have the mean") as error:
        load(folder.path)
    assert "\n" not in str(error.value)


def without_inputs(folder: RunFolder) -> None:
    """As older versions wrote checkpoints."""
    for path in (folder.best, folder.last):
        if path.exists():
            checkpoint = torch.load(path, weights_only=True)
            del checkpoint["inputs"]
            torch.save(checkpoint, path)


def test_an_older_checkpoint(folder: RunFolder, tmp_path: Path, model: TrainedModel) -> None:
    older = RunFolder(shutil.copytree(folder.path, tmp_path / "older"))
    without_inputs(older)
    image = torch.arange(784, dtype=torch.uint8).view(1, 28, 28)
    assert torch.equal(load(older.path)(image), model(image))


def test_names_that_are_not_one_for_each_score(folder: RunFolder, tmp_path: Path) -> None:
    checkpoint = torch.load(folder.last, weights_only=True)
    checkpoint["inputs"]["names"].pop()
    torch.save(checkpoint, tmp_path / "wrong.pt")
    with pytest.raises(UserError, match=r"wrong.pt: does not fit the model \(model.head"):
        load(tmp_path / "wrong.pt")


def test_batch_norm_inside_f(
    configure: Configure, own_images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the statistics of an evaluation, which need the training images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    more = ("model=conv_bn", "solver=euler", "solver.n_steps=2", "epochs=1")
    config = in_folders(configure, own_images, *more)
    folder = run(config, tmp_path / "run")
    model, pixels = load(folder.last), sources.load(config.image_data, 0)["test"]
    names = model.predict(pixels.pixels)
    correct = sum(model.classes.index(n) == x for n, x in zip(names, pixels.labels, strict=True))
    expected = [r for r in rows(folder.evaluations) if r["split"] == "test"][-1]
    assert correct / len(pixels) == float(expected["accuracy"])
    shutil.rmtree(own_images)
    with pytest.raises(UserError, match="BatchNorm inside f takes its statistics from"):
        load(folder.last)


def test_a_trajectory_is_no_classifier(configure: Configure, tmp_path: Path) -> None:
    config = configure("data=spiral_linear", "model=linear_field", "data.windows=2", "epochs=1")
    folder = run(config, tmp_path / "run")
    with pytest.raises(UserError, match=r"fits a trajectory, it does not classify images$"):
        load(folder.path)


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^checkpoint=.*/checkpoints/last.pt: no such file$"):
        load(tmp_path)


def test_importing_is_cheap() -> None:
    code = "import sys, node_cli, node_cli.ode; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drawing_weights_leaves_the_generator_alone(folder: RunFolder) -> None:
    before: Tensor = torch.get_rng_state()
    load(folder.path)
    assert torch.equal(torch.get_rng_state(), before)
