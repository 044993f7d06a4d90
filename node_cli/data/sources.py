"""Where images come from: scikit-learn's digits, and torchvision's data sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import interpolate

from node_cli.config.messages import not_among
from node_cli.config.schema import DataConfig
from node_cli.data.images import ImageSet, cut
from node_cli.data.streams import stream
from node_cli.errors import UserError, one_line

TEST_FRACTION_OF_DIGITS = 0.2


@dataclass(frozen=True)
class Source:
    """What is known of a data set beside its images.

    ``mean``, ``std``: of the training pixels (digits: of all 1,797 images) in [0, 1], per channel.
    ``torchvision``: the name of its class there, None for digits; ``folder``: where that class
    keeps its files. ``shape``: [C, H, W]. ``flips``: whether a mirrored image still shows the same
    class.
    """

    mean: Sequence[float]
    std: Sequence[float]
    train_images: int
    torchvision: str | None = None
    folder: str = ""
    shape: tuple[int, int, int] = (1, 28, 28)
    flips: bool = False
    classes: int = 10


SOURCES = {
    "digits": Source([0.3053], [0.3247], 1_438),
    "mnist": Source([0.1307], [0.3081], 60_000, "MNIST", "MNIST"),
    "fashion_mnist": Source([0.2860], [0.3530], 60_000, "FashionMNIST", "FashionMNIST"),
    "kmnist": Source([0.1918], [0.3483], 60_000, "KMNIST", "KMNIST"),
    "cifar10": Source(
        [0.4914, 0.4822, 0.4465],
        [0.2470, 0.2435, 0.2616],
        50_000,
        "CIFAR10",
        "cifar-10-batches-py",
        shape=(3, 32, 32),
        flips=True,
    ),
}


def find(name: str) -> Source:
    """Raises ``UserError`` for an unknown name."""
    if name not in SOURCES:
        raise UserError(not_among("data.name", name, SOURCES))
    return SOURCES[name]


def check(config: DataConfig) -> int:
    """The number of training images that the configuration leaves, without reading any.

    Raises ``UserError`` where it leaves none to a split, and where ``data.download=false`` but
    there are no files.
    """
    source = find(config.name)
    if source.torchvision and not config.download and not _folder(source, config).is_dir():
        raise _missing(source, config)
    return _left_to_train(config, source.train_images)


def _left_to_train(config: DataConfig, images: int) -> int:
    assert config.holdout is not None, "checked"
    images = min(config.limit or images, images)
    held_out = round(config.holdout * images)
    for name, size in (("train", images - held_out), ("holdout", held_out)):
        if size == 0 and (name == "train" or config.holdout):
            raise UserError(
                f"data.holdout={config.holdout:g}: leaves no images for {name} of {images}"
            )
    return images - held_out


def load(config: DataConfig, seed: int) -> dict[str, ImageSet]:
    """The splits ``train``, ``holdout`` (where one is asked for) and ``test``, on the CPU.

    ``data.limit`` keeps the first training images in file order before the holdout is cut. Raises
    ``UserError`` as ``check`` does, and where files can not be downloaded or are damaged.
    """
    check(config)
    source = find(config.name)
    train, test = _torchvision(source, config) if source.torchvision else _digits(seed)
    _left_to_train(config, len(train))
    splits = {"train": train[: config.limit]}
    if config.holdout:
        assert config.holdout_from, "checked"
        splits["train"], splits["holdout"] = cut(
            splits["train"], config.holdout, config.holdout_from, stream(seed, "holdout")
        )
    return splits | {"test": test}


def _digits(seed: int) -> tuple[ImageSet, ImageSet]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images).unsqueeze(1) * (255 / 16)  # 0..16 -> 0..255
    pixels = interpolate(small, size=28, mode="bilinear").round().to(torch.uint8)
    images = ImageSet(pixels, torch.from_numpy(digits.target).long())
    return cut(images, TEST_FRACTION_OF_DIGITS, "stratified", stream(seed, "test"))


def _torchvision(source: Source, config: DataConfig) -> tuple[ImageSet, ImageSet]:
    try:
        return _read(source, config, download=False)
    except FileNotFoundError:
        if not config.download:
            raise _missing(source, config) from None
    except Exception as error:  # damaged bytes raise anything
        raise UserError(
            f"data.root={config.root}: {source.torchvision} is damaged ({one_line(error)}); "
            f"delete {_folder(source, config)} to have it downloaded again"
        ) from error
    try:
        return _read(source, config, download=True)
    except Exception as error:  # no network, a full disk, a wrong checksum
        raise _missing(source, config, f"could not be downloaded ({one_line(error)})") from error


def _folder(source: Source, config: DataConfig) -> Path:
    assert config.root is not None
    return Path(config.root) / source.folder


def _missing(source: Source, config: DataConfig, reason: str = "data.download=false") -> UserError:
    return UserError(
        f"data.root={config.root}: {source.torchvision} is missing and {reason}; "
        "set data.root to a folder that has it, or stay offline with data=digits"
    )


def _read(source: Source, config: DataConfig, *, download: bool) -> tuple[ImageSet, ImageSet]:
    """Training and test images; FileNotFoundError where they are missing and not to be fetched."""
    # Imported here, since it takes seconds: a run on digits does without.
    from torchvision import datasets

    assert source.torchvision is not None
    dataset = getattr(datasets, source.torchvision)
    try:
        train, test = (
            dataset(config.root, train=part, download=download) for part in (True, False)
        )
    except RuntimeError as error:
        if not download and "not found" in str(error):
            raise FileNotFoundError from error
        raise
    return _image_set(train, source), _image_set(test, source)


def _image_set(dataset: Any, source: Source) -> ImageSet:
    pixels = torch.as_tensor(dataset.data)
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    labels = torch.as_tensor(dataset.targets).long()
    if pixels.shape[1:] != source.shape or pixels.dtype != torch.uint8:
        raise ValueError(f"images of {[*pixels.shape[1:]]} {pixels.dtype}")
    if len(labels) != len(pixels):
        raise ValueError(f"{len(labels):,} labels for {len(pixels):,} images")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= source.classes:
        raise ValueError(f"labels other than 0 to {source.classes - 1}")
    return ImageSet(pixels.contiguous(), labels)
