"""Fakes of torchvision's sets in the layout of the real files, read by torchvision's own code, and
trained on."""

import hashlib
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets

from node_cli.config.schema import Config
from node_cli.data import sources
from node_cli.data.catalog import IMAGES
from node_cli.errors import UserError
from tests.commands import NodeTrain

pytestmark = pytest.mark.usefixtures("undrawn")

Configure = Callable[..., Config]
Array = npt.NDArray[np.uint8]
SIZES = {"train": 24, "test": 12}


def pixels(split: str, *shape: int) -> Array:
    random = np.random.default_rng(len(split))
    return random.integers(0, 256, (SIZES[split], *shape), dtype=np.uint8)


def labels(split: str, classes: int) -> Array:
    return (np.arange(SIZES[split]) % classes).astype(np.uint8)


def idx(array: npt.NDArray[np.generic], kind: int) -> bytes:
    header = struct.pack(">BBBB", 0, 0, kind, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir()
    for split in SIZES:
        content = {"data": pixels(split, 3072), "fine_labels": labels(split, 100).tolist()}
        (folder / split).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [*map(str, range(100))]}))
    from torchvision.datasets import CIFAR100

    for split in SIZES:
        monkeypatch.setattr(CIFAR100, f"{split}_list", [[split, md5(folder / split)]])
    monkeypatch.setitem(CIFAR100.meta, "md5", md5(folder / "meta"))


def svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import SVHN

    listed = dict(SVHN.split_list)
    for split in SIZES:
        path = root / f"{split}_32x32.mat"
        ten_for_zero = np.where(labels(split, 10) == 0, 10, labels(split, 10))
        images = pixels(split, 3, 32, 32).transpose(2, 3, 1, 0)
        savemat(path, {"X": images, "y": ten_for_zero[:, None]})
        listed[split] = [listed[split][0], path.name, md5(path)]
    monkeypatch.setattr(SVHN, "split_list", listed)


def stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import STL10

    folder = root / "stl10_binary"
    folder.mkdir()
    for split in SIZES:
        columns_first = pixels(split, 3, 96, 96).transpose(0, 1, 3, 2)
        (folder / f"{split}_X.bin").write_bytes(columns_first.tobytes())
        (folder / f"{split}_y.bin").write_bytes((labels(split, 10) + 1).tobytes())
        files = [f"{split}_X.bin", f"{split}_y.bin"]
        monkeypatch.setattr(STL10, f"{split}_list", [[f, md5(folder / f)] for f in files])


def emnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "EMNIST" / "raw"
    folder.mkdir(parents=True)
    for name, first, classes in (("balanced", 0, 47), ("letters", 1, 26)):
        for split in SIZES:
            start = folder / f"emnist-{name}-{split}"
            transposed = pixels(split, 28, 28).transpose(0, 2, 1)
            Path(f"{start}-images-idx3-ubyte").write_bytes(idx(transposed, 8))
            Path(f"{start}-labels-idx1-ubyte").write_bytes(idx(labels(split, classes) + first, 8))


def qmnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / "QMNIST" / "raw"
    folder.mkdir(parents=True)
    for split in SIZES:
        facts = np.zeros((SIZES[split], 8), ">i4")
        facts[:, 0], facts[:, 1] = labels(split, 10), 77
        start = folder / f"qmnist-{split}"
        Path(f"{start}-images-idx3-ubyte").write_bytes(idx(pixels(split, 28, 28), 8))
        Path(f"{start}-labels-idx2-int").write_bytes(idx(facts, 12))


FAKES = {f.__name__: f for f in (cifar100, svhn, stl10, emnist, qmnist)}
LETTERS = ["data.split=letters"]


@pytest.mark.parametrize(
    ("name", "options"), [*((name, []) for name in FAKES), ("emnist", LETTERS)]
)
def test_images_are_upright_and_labels_count_from_0(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: list[str],
) -> None:
    FAKES[name](tmp_path, monkeypatch)
    config = configure(
        f"data={name}", f"data.root={tmp_path}", "data.download=false", *options
    ).image_data
    splits, known = sources.load(config, seed=0), sources.facts(config)
    assert known.classes == (26 if options else IMAGES[name].classes)
    for split in SIZES:
        expected = torch.from_numpy(pixels(split, *known.shape))
        if name == "cifar100":
            expected = torch.from_numpy(pixels(split, 3072)).view(-1, 3, 32, 32)
        assert torch.equal(splits[split].pixels, expected)
        expected_labels = labels(split, known.classes).tolist()
        assert splits[split].labels.tolist() == expected_labels


@pytest.mark.parametrize("name", FAKES)
def test_a_training_on_each(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The model takes the size of the images and the number of classes from the data."""
    FAKES[name](tmp_path, monkeypatch)
    short = ["epochs=1", "batch_size=12", "solver=euler", "solver.n_steps=1"]
    result = node_train(f"data={name}", f"data.root={tmp_path}", "data.download=false", *short)
    assert result.code == 0, result.err
    assert f"[{IMAGES[name].classes}]  Linear 20->{IMAGES[name].classes}" in result.out


@pytest.mark.parametrize("name", FAKES)
def test_files_that_are_missing_are_one_line(
    configure: Configure, tmp_path: Path, name: str
) -> None:
    config = configure(f"data={name}", f"data.root={tmp_path}", "data.download=false").image_data
    with pytest.raises(UserError, match=r"is missing and data\.download=false") as caught:
        sources.load(config, seed=0)
    assert "\n" not in str(caught.value) and "it lies in" not in str(caught.value)


def test_a_split_that_there_is_not(configure: Configure) -> None:
    with pytest.raises(
        UserError, match=r"data\.split=letter: choose from balanced, byclass.*mean l"
    ):
        configure("data=emnist", "data.split=letter")
    with pytest.raises(UserError, match=r"data\.split=letters: not used by data=mnist"):
        configure("data=mnist", "data.split=letters")


def test_the_names_of_the_classes() -> None:
    """Those of torchvision, where it has them without a file."""
    for row in IMAGES.values():
        assert len({*row.names}) == row.classes
        assert not row.splits or row.names == next(iter(row.splits.values())).names
    assert [*IMAGES["fashion_mnist"].names] == datasets.FashionMNIST.classes
    assert [*IMAGES["kmnist"].names] == datasets.KMNIST.classes
    for split, published in IMAGES["emnist"].splits.items():
        expected = datasets.EMNIST.classes_split_dict[split][published.first_label :]
        assert [*published.names] == expected
