"""Images that lie in arrays: those of an .npz file, and those that an installed package makes.

Both have the same form: ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``.
Images are uint8, [N, H, W] or, with 1 or 3 channels, [N, H, W, C]; labels are whole numbers from 0
on, [N] or [N, 1].
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from node_cli.config.data import ArrayData, InstalledData
from node_cli.data.catalog import Images
from node_cli.data.images import ImageSet
from node_cli.errors import UserError, one_line
from node_cli.parts.installed import installed

Sets = tuple[ImageSet, ImageSet]


def facts(config: ArrayData | InstalledData) -> Images:
    """What the images are like. Cost: reading them, which ``read`` then does not do again. Raises
    ``UserError`` as ``read`` does."""
    train, _ = read(config)
    _, *shape = train.pixels.shape
    names = [str(label) for label in range(int(train.labels.max()) + 1)]
    return Images(None, None, len(train), shape=tuple(shape), names=names)


def read(config: ArrayData | InstalledData) -> Sets:
    """Training and test images. Raises ``UserError`` where they cannot be had, or do not have the
    form that they must have."""
    if isinstance(config, InstalledData):
        return _of_package(config.name, json.dumps(config.options))
    try:
        status = Path(config.root).stat()
    except OSError as error:
        raise UserError(f"data.root={config.root}: {error.strerror}; {_FORM}") from error
    return _of_file(config.root, status.st_size, status.st_mtime_ns)


NAMES = ("train_images", "train_labels", "test_images", "test_labels")
_FORM = f"data=arrays needs an .npz file with {', '.join(NAMES)}"


@lru_cache(maxsize=1)
def _of_file(root: str, size: int, changed: int) -> Sets:
    """``size``, ``changed``: of the file, so that another one of its name is read anew."""
    where = f"data.root={root}"
    try:
        with np.load(root, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise UserError(f"{where}: holds a single array; {_FORM}")
            arrays = {name: archive[name] for name in NAMES if name in archive}
            there = ", ".join(archive.files)
    except UserError:
        raise
    except Exception as error:  # damaged bytes raise anything
        raise UserError(f"{where}: not readable ({one_line(error)}); {_FORM}") from error
    return image_sets(arrays, where, there)


@lru_cache(maxsize=1)
def _of_package(name: str, options: str) -> Sets:
    """``options``: as JSON."""
    part = installed("data")[name]
    make = part.load()
    where = f"data={name}: {part.origin}"
    try:
        arrays = make(**json.loads(options))
    except Exception as error:  # whatever the package does
        raise UserError(
            f"{where} could not make them: {type(error).__name__}, {one_line(error)}"
        ) from error
    if not isinstance(arrays, Mapping):
        raise UserError(f"{where}: makes a {type(arrays).__name__}, must be a dict of arrays")
    return image_sets(arrays, where, ", ".join(map(str, arrays)))


def image_sets(arrays: Mapping[str, Any], where: str, there: str) -> Sets:
    """Training and test images. ``where``: they come from, for messages; ``there``: all names.

    Raises ``UserError`` where the arrays are not of the form that they must have.
    """
    if missing := [name for name in NAMES if name not in arrays]:
        raise UserError(f"{where}: has no {', '.join(missing)}; it has {there or 'nothing'}")
    train, test = (
        ImageSet(
            _pixels(arrays[f"{split}_images"], f"{where}: {split}_images"),
            _labels(arrays[f"{split}_labels"], f"{where}: {split}_labels"),
        )
        for split in ("train", "test")
    )
    for split, images in (("train", train), ("test", test)):
        if len(images.pixels) != len(images.labels) or len(images) == 0:
            raise UserError(
                f"{where}: {split}_images has {len(images.pixels):,} images, {split}_labels "
                f"{len(images):,} labels"
            )
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        shapes = (f"{[*images.pixels.shape[1:]]}" for images in (train, test))
        raise UserError(f"{where}: images of {' for training, of '.join(shapes)} for the test")
    _check_classes(train.labels, test.labels, where)
    return train, test


def _pixels(values: Any, what: str) -> Tensor:
    pixels = _tensor(values, what)
    shape = [*pixels.shape]
    if pixels.dtype != torch.uint8:
        raise UserError(f"{what}: {_dtype(pixels)}, must be uint8, 0 to 255")
    if pixels.ndim == 4 and shape[3] in (1, 3):
        pixels = pixels.permute(0, 3, 1, 2)
    elif pixels.ndim == 3:
        pixels = pixels.unsqueeze(1)
    else:
        raise UserError(f"{what}: shape {shape}, must be [N, H, W] or [N, H, W, C], C 1 or 3")
    return pixels.contiguous()


def _labels(values: Any, what: str) -> Tensor:
    labels = _tensor(values, what)
    shape = [*labels.shape]
    if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
        raise UserError(f"{what}: {_dtype(labels)}, must be whole numbers")
    if labels.ndim == 2 and shape[1] == 1:
        labels = labels.squeeze(1)
    if labels.ndim != 1:
        raise UserError(f"{what}: shape {shape}, must be [N]")
    return labels.long()


def _tensor(values: Any, what: str) -> Tensor:
    """A tensor of numpy's or torch's array. Types that torch has not are no numbers for it."""
    try:
        return (
            values.detach().cpu()
            if isinstance(values, Tensor)
            else torch.from_numpy(np.array(values))
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"{what}: no array of numbers ({one_line(error)})") from error


def _check_classes(train: Tensor, test: Tensor, where: str) -> None:
    """Labels are 0, 1, ... without a gap: each is the place of a score of the model."""
    there = train.unique()
    classes = len(there)
    if int(there[0]) != 0 or int(there[-1]) != classes - 1:
        raise UserError(
            f"{where}: train_labels has {classes:,} classes, from {int(there[0])} to "
            f"{int(there[-1])}; they must be 0 to {classes - 1:,}"
        )
    if int(test.min()) < 0 or int(test.max()) >= classes:
        raise UserError(
            f"{where}: test_labels from {int(test.min())} to {int(test.max())}, those of training "
            f"are 0 to {classes - 1:,}"
        )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
