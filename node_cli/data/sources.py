"""Where images come from: scikit-learn's digits, and torchvision's data sets."""

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import interpolate

from node_cli.config.data import Downloaded, ImageData
from node_cli.data.catalog import IMAGES, Images
from node_cli.data.images import ImageSet, cut
from node_cli.data.streams import stream
from node_cli.errors import UserError, one_line

TEST_FRACTION_OF_DIGITS = 0.2


def check(config: ImageData) -> int:
    """The number of training images that the configuration leaves, without reading any.

    Raises ``UserError`` where it leaves none to a split, and where ``data.download=false`` but
    there are no files.
    """
    if isinstance(config, Downloaded) and not config.download and not _folder(config).is_dir():
        raise _missing(config)
    return _left_to_train(config, IMAGES[config.name].train_images)


def _left_to_train(config: ImageData, images: int) -> int:
    images = min(config.limit or images, images)
    held_out = round(config.holdout * images)
    for name, size in (("train", images - held_out), ("holdout", held_out)):
        if size == 0 and (name == "train" or config.holdout):
            raise UserError(
                f"data.holdout={config.holdout:g}: leaves no images for {name} of {images}"
            )
    return images - held_out


def load(config: ImageData, seed: int) -> dict[str, ImageSet]:
    """The splits ``train``, ``holdout`` (where one is asked for) and ``test``, on the CPU.

    ``data.limit`` keeps the first training images in file order before the holdout is cut. Raises
    ``UserError`` as ``check`` does, and where files can not be downloaded or are damaged.
    """
    check(config)
    train, test = _torchvision(config) if isinstance(config, Downloaded) else _digits(seed)
    _left_to_train(config, len(train))
    splits = {"train": train[: config.limit]}
    if config.holdout:
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


def _torchvision(config: Downloaded) -> tuple[ImageSet, ImageSet]:
    try:
        return _read(config, download=False)
    except FileNotFoundError:
        if not config.download:
            raise _missing(config) from None
    except Exception as error:  # damaged bytes raise anything
        raise UserError(
            f"data.root={config.root}: {IMAGES[config.name].torchvision} is damaged "
            f"({one_line(error)}); delete {_folder(config)} to have it downloaded again"
        ) from error
    try:
        return _read(config, download=True)
    except Exception as error:  # no network, a full disk, a wrong checksum
        raise _missing(config, f"could not be downloaded ({one_line(error)})") from error


def _folder(config: Downloaded) -> Path:
    return Path(config.root) / IMAGES[config.name].folder


def _missing(config: Downloaded, reason: str = "data.download=false") -> UserError:
    return UserError(
        f"data.root={config.root}: {IMAGES[config.name].torchvision} is missing and {reason}; "
        "set data.root to a folder that has it, or stay offline with data=digits"
    )


def _read(config: Downloaded, *, download: bool) -> tuple[ImageSet, ImageSet]:
    """Training and test images; FileNotFoundError where they are missing and not to be fetched."""
    # Imported here, since it takes seconds: a run on digits does without.
    from torchvision import datasets

    facts = IMAGES[config.name]
    dataset = getattr(datasets, str(facts.torchvision))
    try:
        train, test = (
            dataset(config.root, train=part, download=download) for part in (True, False)
        )
    except RuntimeError as error:
        if not download and "not found" in str(error):
            raise FileNotFoundError from error
        raise
    return _image_set(train, facts), _image_set(test, facts)


def _image_set(dataset: Any, facts: Images) -> ImageSet:
    pixels = torch.as_tensor(dataset.data)
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    labels = torch.as_tensor(dataset.targets).long()
    if pixels.shape[1:] != facts.shape or pixels.dtype != torch.uint8:
        raise ValueError(f"images of {[*pixels.shape[1:]]} {pixels.dtype}")
    if len(labels) != len(pixels):
        raise ValueError(f"{len(labels):,} labels for {len(pixels):,} images")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= facts.classes:
        raise ValueError(f"labels other than 0 to {facts.classes - 1}")
    return ImageSet(pixels.contiguous(), labels)
