"""Where images come from: scikit-learn's digits, and torchvision's data sets."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import interpolate

from node_cli.config.messages import choose
from node_cli.config.schema import DataConfig
from node_cli.data.images import ImageSet, cut
from node_cli.data.streams import stream
from node_cli.errors import UserError

TEST_FRACTION_OF_DIGITS = 0.2


@dataclass(frozen=True)
class Source:
    """What is known of a data set beside its images.

    ``mean``, ``std``: of the training pixels in [0, 1], per channel. ``torchvision``: the name of
    its class there, None for digits. ``shape``: [C, H, W]. ``flips``: whether a mirrored image
    still shows the same class.
    """

    mean: Sequence[float]
    std: Sequence[float]
    torchvision: str | None
    shape: tuple[int, int, int] = (1, 28, 28)
    flips: bool = False
    classes: int = 10


SOURCES = {
    "digits": Source(mean=[0.3053], std=[0.3247], torchvision=None),
    "mnist": Source(mean=[0.1307], std=[0.3081], torchvision="MNIST"),
    "fashion_mnist": Source(mean=[0.2860], std=[0.3530], torchvision="FashionMNIST"),
    "kmnist": Source(mean=[0.1918], std=[0.3483], torchvision="KMNIST"),
    "cifar10": Source(
        mean=[0.4914, 0.4822, 0.4465],
        std=[0.2470, 0.2435, 0.2616],
        torchvision="CIFAR10",
        shape=(3, 32, 32),
        flips=True,
    ),
}


def find(name: str) -> Source:
    """Raises ``UserError`` for an unknown name."""
    if name not in SOURCES:
        raise UserError(choose("data.name", name, SOURCES))
    return SOURCES[name]


def load(config: DataConfig, seed: int) -> dict[str, ImageSet]:
    """The splits ``train``, ``holdout`` (where one is asked for) and ``test``, on the CPU.

    ``data.limit`` keeps the first training images in file order before the holdout is cut. Raises
    ``UserError`` where files are missing and may or can not be downloaded, or are damaged.
    """
    source = find(config.name)
    if source.torchvision is None:
        train, test = _digits(seed)
    else:
        train, test = _torchvision(source.torchvision, config)
    splits = {"train": train[: config.limit]}
    if config.holdout:
        splits["train"], splits["holdout"] = cut(
            splits["train"], config.holdout, config.holdout_from, stream(seed, "holdout")
        )
    splits["test"] = test
    for name, images in splits.items():
        if len(images) == 0:
            raise UserError(
                f"data.holdout={config.holdout:g}: leaves no images for {name} "
                f"of {len(train[: config.limit])}"
            )
    return splits


def _digits(seed: int) -> tuple[ImageSet, ImageSet]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = torch.from_numpy(digits.images).unsqueeze(1) * (255 / 16)  # 0..16 -> 0..255
    pixels = interpolate(small, size=28, mode="bilinear").round().to(torch.uint8)
    images = ImageSet(pixels, torch.from_numpy(digits.target).long())
    return cut(images, TEST_FRACTION_OF_DIGITS, "stratified", stream(seed, "test"))


def _torchvision(name: str, config: DataConfig) -> tuple[ImageSet, ImageSet]:
    assert config.root is not None and config.download is not None
    root = Path(config.root).expanduser()
    where = f"data.root={config.root}: {name} in {root.absolute()}"
    instead = "set data.root to a folder that has it, or stay offline with data=digits"
    try:
        return _read(name, root, download=False)
    except FileNotFoundError:
        if not config.download:
            raise UserError(f"{where} is missing and data.download=false; {instead}") from None
    except Exception as error:  # damaged bytes raise anything
        raise UserError(
            f"{where} is damaged ({_reason(error)}); delete it to have it downloaded again"
        ) from error
    try:
        return _read(name, root, download=True)
    except Exception as error:  # no network, a full disk, a wrong checksum
        raise UserError(
            f"{where} is missing and could not be downloaded ({_reason(error)}); {instead}"
        ) from error


def _read(name: str, root: Path, *, download: bool) -> tuple[ImageSet, ImageSet]:
    """Training and test images; FileNotFoundError where they are missing and not to be fetched."""
    # Imported here, since it takes seconds: a run on digits does without.
    from torchvision import datasets

    try:
        train, test = (
            getattr(datasets, name)(root, train=part, download=download) for part in (True, False)
        )
    except RuntimeError as error:
        if not download and "not found" in str(error):
            raise FileNotFoundError from error
        raise
    return _image_set(train), _image_set(test)


def _image_set(dataset: Any) -> ImageSet:
    pixels = torch.as_tensor(dataset.data)
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return ImageSet(pixels.contiguous(), torch.as_tensor(dataset.targets).long())


def _reason(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())
