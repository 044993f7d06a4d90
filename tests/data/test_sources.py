"""Data sets: the embedded default, torchvision's files, downloads from a local fake, failures."""

import gzip
import hashlib
import http.server
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from node_cli.config.schema import Config
from node_cli.data import sources
from node_cli.data.catalog import IMAGES
from node_cli.data.images import mean_and_std
from node_cli.data.sources import load
from node_cli.errors import UserError

Configure = Callable[..., Config]
RAW = Path("MNIST/raw")


def idx(array: np.ndarray) -> bytes:
    """The bytes of an IDX file, MNIST's format."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist_files() -> dict[str, bytes]:
    """A tiny MNIST: 40 training and 10 test images."""
    random = np.random.default_rng(0)
    files = {}
    for prefix, n in (("train", 40), ("t10k", 10)):
        images = random.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        files[f"{prefix}-images-idx3-ubyte"] = idx(images)
        files[f"{prefix}-labels-idx1-ubyte"] = idx((np.arange(n) % 10).astype(np.uint8))
    return files


@pytest.fixture
def mnist_root(tmp_path: Path) -> Path:
    folder = tmp_path / RAW
    folder.mkdir(parents=True)
    for name, content in mnist_files().items():
        (folder / name).write_bytes(content)
    return tmp_path


def test_digits_are_real_and_split_by_seed(configure: Configure) -> None:
    splits = load(configure().data, seed=0)
    assert {name: len(images) for name, images in splits.items()} == {
        "train": 1294,
        "holdout": 144,
        "test": 359,
    }
    everything = torch.cat([images.pixels.flatten(1) for images in splits.values()])
    assert len(everything.unique(dim=0)) > 1790, "the splits share no images"
    for images in splits.values():
        assert images.pixels.shape[1:] == (1, 28, 28)
        shares = images.labels.bincount(minlength=10) / len(images)
        assert (shares - 0.1).abs().max() < 0.015
    again, other = load(configure().data, seed=0), load(configure().data, seed=1)
    assert torch.equal(splits["test"].pixels, again["test"].pixels)
    assert not torch.equal(splits["test"].pixels, other["test"].pixels)


def test_digits_are_those_of_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without its file where it is expected."""
    images, classes = load_digits(return_X_y=True)
    expected = torch.from_numpy(np.column_stack([images, classes]))
    read = sources._digits_of_sklearn.__wrapped__
    assert torch.equal(read(), expected)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert torch.equal(read(), expected)


@pytest.mark.parametrize("name", IMAGES)
def test_stated_mean_and_std_of_digits_and_shapes(configure: Configure, name: str) -> None:
    source = IMAGES[name]
    assert (source.mean is None) == (source.std is None)
    if source.mean is not None and source.std is not None:
        assert len(source.mean) == len(source.std) == source.shape[0]
    if name == "digits":
        assert source.mean is not None and source.std is not None
        pixels = load(configure("data.holdout=0").data, seed=0)["train"].pixels / 255
        assert pixels.mean().item() == pytest.approx(source.mean[0], abs=2e-3)
        assert pixels.std().item() == pytest.approx(source.std[0], abs=2e-3)


def test_limit_comes_before_the_holdout_and_leaves_the_test_set(
    configure: Configure, mnist_root: Path
) -> None:
    config = configure(
        "data=mnist",
        f"data.root={mnist_root}",
        "data.limit=20",
        "data.holdout=0.1",
        "data.holdout_from=last",
    ).data
    splits = load(config, seed=0)
    assert {name: len(images) for name, images in splits.items()} == {
        "train": 18,
        "holdout": 2,
        "test": 10,
    }
    assert splits["train"].labels.tolist() == [i % 10 for i in range(18)]
    assert splits["holdout"].labels.tolist() == [8, 9]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serves the gzipped tiny MNIST on localhost."""
    folder = tmp_path / "server"
    folder.mkdir()
    for name, content in mnist_files().items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()


@pytest.fixture
def mnist_mirror(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's own download code, pointed at the local server."""
    from torchvision.datasets import MNIST

    checksums = [
        (f"{name}.gz", hashlib.md5((tmp_path / "server" / f"{name}.gz").read_bytes()).hexdigest())
        for name in mnist_files()
    ]
    monkeypatch.setattr(MNIST, "mirrors", [server])
    monkeypatch.setattr(MNIST, "resources", checksums)


@pytest.mark.usefixtures("mnist_mirror")
def test_download_on_first_use(
    configure: Configure, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "new" / "folder"
    config = configure("data=mnist", f"data.root={root}").data
    splits = load(config, seed=0)
    assert (len(splits["train"]), len(splits["test"])) == (40, 10)
    assert "100" in capfd.readouterr().err, "a progress bar"
    assert (root / RAW / "train-images-idx3-ubyte").exists()
    again = load(configure("data=mnist", f"data.root={root}", "data.download=false").data, seed=0)
    assert torch.equal(splits["train"].pixels, again["train"].pixels)
    assert capfd.readouterr().err == "", "nothing is fetched twice"


@pytest.mark.usefixtures("mnist_mirror")
def test_a_wrong_checksum_is_an_error(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "resources", [(name, "0" * 32) for name, _ in MNIST.resources])
    with pytest.raises(UserError, match=r"could not be downloaded \(.*corrupted.*data=digits"):
        load(configure("data=mnist", f"data.root={tmp_path / 'new'}").data, seed=0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.download=false"], r"MNIST is missing and data\.download=false.*data=digits"),
        ([], r"MNIST is missing and could not be downloaded .*data=digits"),
    ],
)
def test_missing_files(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    message: str,
) -> None:
    from torchvision.datasets import MNIST

    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])  # nobody listens there
    config = configure("data=mnist", f"data.root={tmp_path}", *overrides).data
    with pytest.raises(UserError, match=message) as caught:
        load(config, seed=0)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 7, -1])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_damaged_files(configure: Configure, mnist_root: Path, name: str, keep: int) -> None:
    """A file cut short, or emptied, is named as damaged; nothing is downloaded over it."""
    file = mnist_root / RAW / name
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match="is damaged") as caught:
        load(configure("data=mnist", f"data.root={mnist_root}").data, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-labels-idx1-ubyte", np.full(40, 77), "labels other than 0 to 9"),
        ("train-labels-idx1-ubyte", np.zeros(39), "39 labels for 40 images"),
        ("t10k-images-idx3-ubyte", np.zeros((10, 14, 56)), r"images of \[1, 14, 56\] torch.uint8"),
    ],
)
def test_files_that_hold_something_else(
    configure: Configure, mnist_root: Path, name: str, array: np.ndarray, message: str
) -> None:
    (mnist_root / RAW / name).write_bytes(idx(array.astype(np.uint8)))
    with pytest.raises(UserError, match=rf"is damaged \({message}\)"):
        load(configure("data=mnist", f"data.root={mnist_root}").data, seed=0)


def test_a_holdout_that_leaves_nothing(configure: Configure, mnist_root: Path) -> None:
    config = configure("data=mnist", f"data.root={mnist_root}", "data.holdout=0.001").data
    with pytest.raises(UserError, match=r"data\.holdout=0\.001: leaves no images for holdout"):
        load(config, seed=0)


def test_cifar10_becomes_channels_first(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchvision's CIFAR10 keeps [N, 32, 32, 3] in a numpy array and labels in a list."""
    from torchvision import datasets

    class Fake:
        def __init__(self, root: Path, *, train: bool, download: bool) -> None:
            self.data = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
            self.targets = [i % 10 for i in range(20)]

    monkeypatch.setattr(datasets, "CIFAR10", Fake)
    train = load(configure("data=cifar10", f"data.root={tmp_path}").data, seed=0)["train"]
    assert train.pixels.shape == (20, 3, 32, 32)
    assert train.pixels.is_contiguous()
    fake = Fake(tmp_path, train=True, download=False)
    assert train.pixels[3, 1, 4, 5] == fake.data[3, 4, 5, 1]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_full_sets(configure: Configure, full_data: Path, name: str) -> None:
    splits = load(configure(f"data={name}", f"data.root={full_data}").data, seed=0)
    assert (len(splits["train"]), len(splits["test"])) == (60_000, 10_000)
    stated = IMAGES[name].mean, IMAGES[name].std
    for found, expected in zip(mean_and_std(splits["train"].pixels), stated, strict=True):
        assert found == pytest.approx(expected, abs=1e-4)
