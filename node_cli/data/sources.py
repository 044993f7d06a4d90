"""Where images come from: what is known of a set, its splits, and scikit-learn's digits."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from node_cli.config.data import (
    ArrayData,
    Downloaded,
    FolderData,
    ImageData,
    InstalledData,
    PointData,
)
from node_cli.data import arrays, folders, points, torchvision_sets
from node_cli.data.catalog import IMAGES, POINTS, Images
from node_cli.data.images import ImageSet, cut
from node_cli.data.streams import stream
from node_cli.errors import UserError

TEST_FRACTION_OF_DIGITS = 0.2


def facts(config: ImageData) -> Images:
    """What is known of the set before it is read, but for ``data.limit`` and the holdout.

    Cost: of files of the user's own, looking at them; arrays are read. Raises ``UserError`` where
    they are not there.
    """
    match config:
        case Downloaded():
            return torchvision_sets.facts(config)
        case FolderData():
            return folders.facts(config)
        case ArrayData() | InstalledData():
            return arrays.facts(config)
        case PointData():
            return POINTS[config.name]
        case _:
            return IMAGES[config.name]


def check(config: ImageData) -> int:
    """The number of training images that the configuration leaves.

    Raises ``UserError`` where it leaves none to a split, and where there are no files.
    """
    return _left_to_train(config, facts(config).train_images)


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
    train, test = _read(config, seed)
    _left_to_train(config, len(train))
    splits = {"train": train[: config.limit]}
    if config.holdout:
        splits["train"], splits["holdout"] = cut(
            splits["train"], config.holdout, config.holdout_from, stream(seed, "holdout")
        )
    return splits | {"test": test}


def _read(config: ImageData, seed: int) -> tuple[ImageSet, ImageSet]:
    """All training and test images."""
    match config:
        case Downloaded():
            return torchvision_sets.read(config)
        case FolderData():
            return folders.read(config)
        case ArrayData() | InstalledData():
            return arrays.read(config)
        case PointData():
            return points.read(config, seed)
        case _:
            return _digits(seed)


@cache
def _digits_of_sklearn() -> Tensor:
    """Float64 (1797, 65): the 8 by 8 pixels of an image, from 0 to 16, and its class.

    From the file that sklearn's load_digits reads, since to import sklearn takes a second; by
    load_digits where another version keeps it elsewhere.
    """
    sklearn = find_spec("sklearn")
    assert sklearn is not None and sklearn.origin is not None
    path = Path(sklearn.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if path.exists():
        return torch.from_numpy(np.loadtxt(path, delimiter=","))
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    return torch.from_numpy(np.column_stack([pixels, classes]))


def _digits(seed: int) -> tuple[ImageSet, ImageSet]:
    table = _digits_of_sklearn()
    small = table[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)  # 0..16 -> 0..255
    pixels = interpolate(small, size=28, mode="bilinear").round().to(torch.uint8)
    images = ImageSet(pixels, table[:, -1].long())
    return cut(images, TEST_FRACTION_OF_DIGITS, "stratified", stream(seed, "test"))
