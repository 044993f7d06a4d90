"""Images of the user's own in an .npz file: read as documented, and anything else is one line."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from node_cli.config.schema import Config
from node_cli.data import sources
from node_cli.errors import UserError
from tests.commands import NodeTrain

pytestmark = pytest.mark.usefixtures("undrawn")

Configure = Callable[..., Config]


def arrays(**changed: Any) -> dict[str, Any]:
    random = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for split, count in (("train", 30), ("test", 12)):
        found[f"{split}_images"] = random.integers(0, 256, (count, 9, 8), dtype=np.uint8)
        found[f"{split}_labels"] = np.arange(count) % 3
    return {name: value for name, value in (found | changed).items() if value is not None}


def load(configure: Configure, path: Path, **changed: Any) -> dict[str, Any]:
    np.savez(path, **arrays(**changed))
    return sources.load(configure("data=arrays", f"data.root={path}").image_data, seed=0)


def test_grey_images_and_their_labels(configure: Configure, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    splits = load(configure, path)
    expected = arrays()
    for split in ("train", "test"):
        assert torch.equal(
            splits[split].pixels[:, 0], torch.from_numpy(expected[f"{split}_images"])
        )
        assert splits[split].labels.tolist() == expected[f"{split}_labels"].tolist()
    known = sources.facts(configure("data=arrays", f"data.root={path}").image_data)
    assert (known.shape, known.classes, known.train_images) == ((1, 9, 8), 3, 30)


def test_colour_images_have_their_channels_last(configure: Configure, tmp_path: Path) -> None:
    """And labels in a column, as MedMNIST has them; further arrays are left alone."""
    images = {f"{s}_images": np.arange(30 * 9 * 8 * 3, dtype=np.uint8) for s in ("train", "test")}
    images = {name: values.reshape(30, 9, 8, 3) for name, values in images.items()}
    labels = {
        f"{s}_labels": (np.arange(30) % 3)[:, None].astype(np.uint8) for s in ("train", "test")
    }
    splits = load(configure, tmp_path / "x.npz", **images, **labels, val_images=np.zeros(3))
    assert splits["train"].pixels.shape == (30, 3, 9, 8)
    assert splits["train"].pixels[4, 2, 5, 6] == images["train_images"][4, 5, 6, 2]
    assert splits["train"].labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"test_images": None, "x": np.zeros(1)},
            "has no test_images; it has train_images, train_labels, test_labels, x",
        ),
        ({"train_images": np.zeros((30, 9, 8))}, "train_images: float64, must be uint8, 0 to 255"),
        ({"train_images": np.zeros((30, 9), np.uint8)}, "train_images: shape [30, 9], must be [N,"),
        (
            {"train_images": np.zeros((30, 3, 9, 8), np.uint8)},
            "train_images: shape [30, 3, 9, 8], must be [N, H, W] or [N, H, W, C], C 1 or 3",
        ),
        ({"train_labels": np.zeros((30, 2), int)}, "train_labels: shape [30, 2], must be [N]"),
        ({"train_labels": np.zeros(30)}, "train_labels: float64, must be whole numbers"),
        ({"train_labels": np.array(["a"] * 30)}, "train_labels: no array of numbers"),
        ({"train_labels": np.arange(29) % 3}, "train_images has 30 images, train_labels 29 labels"),
        (
            {"train_labels": np.arange(30) % 3 + 1},
            "train_labels has 3 classes, from 1 to 3; they must be 0 to 2",
        ),
        ({"train_labels": np.full(30, 2**40)}, "has 1 classes, from 1099511627776 to"),
        ({"test_labels": np.arange(12) % 4}, "test_labels from 0 to 3, those of training are 0 to"),
        (
            {"test_images": np.zeros((12, 8, 8), np.uint8)},
            "images of [1, 9, 8] for training, of [1, 8, 8] for the test",
        ),
        (
            {
                f"test_{n}": a
                for n, a in (("images", np.zeros((0, 9, 8), np.uint8)), ("labels", []))
            },
            "test_",
        ),
        ({"train_images": np.array([{}] * 30, dtype=object)}, "not readable (Object arrays cannot"),
    ],
)
def test_what_is_wrong_is_one_line(
    configure: Configure, tmp_path: Path, changed: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError) as caught:
        load(configure, tmp_path / "x.npz", **changed)
    assert str(caught.value).startswith(f"data.root={tmp_path / 'x.npz'}: ")
    assert line in str(caught.value) and "\n" not in str(caught.value)


class Evil:
    def __reduce__(self) -> Any:
        return (print, ("executed",))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY", pickle.dumps(Evil()), None])
def test_other_files_are_one_line_and_run_no_code(
    configure: Configure, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"data=arrays needs an \.npz file with train_images"):
        sources.check(configure("data=arrays", f"data.root={path}").image_data)
    assert capsys.readouterr().out == ""


def test_a_file_that_was_replaced_is_read_anew(configure: Configure, tmp_path: Path) -> None:
    first = load(configure, tmp_path / "x.npz")
    second = load(
        configure, tmp_path / "x.npz", train_labels=np.arange(30) % 2, test_labels=np.zeros(12, int)
    )
    assert not torch.equal(first["train"].labels, second["train"].labels)


def test_a_training_and_an_evaluation(node_train: NodeTrain, tmp_path: Path) -> None:
    """The model takes sizes and classes from the arrays."""
    np.savez(tmp_path / "x.npz", **arrays())
    options = ["data=arrays", "data.root=x.npz", "data.holdout=0.2", "epochs=1"]
    result = node_train(*options, "hydra.run.dir=run")
    assert result.code == 0, result.err
    assert "[1, 9, 8], 24 train / 6 holdout / 12 test" in result.out
    result = node_train("task=eval", "checkpoint=run")
    assert result.code == 0, result.err
