"""Images in folders, DIR/train/CLASS/*.png and DIR/test/CLASS/*.png: the layout of torchvision's
``ImageFolder``. They are decoded once, and kept in a cache."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from node_cli.config.data import FolderData
from node_cli.data.catalog import Images
from node_cli.data.images import ImageSet
from node_cli.errors import UserError, complain, one_line

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
MOST_SHOWN = 8  # entries of a folder, in a message
GREY = ("1", "L", "LA")  # modes of PIL

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Listing:
    """The files of a split, class by class; ``labels``: the number of each one's class."""

    files: Sequence[Path]
    labels: Sequence[int]
    classes: Sequence[str]


def facts(config: FolderData) -> Images:
    """What the images are like, from the names of the files and the first image alone.

    Raises ``UserError`` where the folders are not there, or no image is in them.
    """
    train, _ = _listings(config)
    shape = _shape(config, train.files[0])
    return Images(None, None, len(train.files), shape=shape, names=train.classes)


def read(config: FolderData) -> tuple[ImageSet, ImageSet]:
    """Training and test images, from the cache where no file has changed since. Raises
    ``UserError`` where one cannot be read."""
    listings = _listings(config)
    shape = _shape(config, listings[0].files[0])
    key = _key(config, listings, shape)
    path = _cache(config, shape)
    found = _cached(path, key, [(len(listing.files), *shape) for listing in listings])
    if found is None:
        count = sum(len(listing.files) for listing in listings)
        print(f"decoding {count:,} images of {config.root}", flush=True)
        found = [_decoded(config, listing, shape) for listing in listings]
        _keep(path, key, found)
    train, test = (
        ImageSet(torch.from_numpy(pixels), torch.tensor(listing.labels))
        for pixels, listing in zip(found, listings, strict=True)
    )
    return train, test


def _listings(config: FolderData) -> tuple[Listing, Listing]:
    """Training and test files. The classes are those of the training, in alphabetical order."""
    root = Path(config.root)
    if not all((root / split).is_dir() for split in ("train", "test")):
        above = root.parent
        hint = ""
        if root.name in ("train", "test") and (above / "train").is_dir():
            hint = f"; did you mean data.root={above}?"
        raise _wrong(config, root, hint)
    classes = _folders(root / "train")
    if not classes:
        raise _wrong(config, root / "train")
    train = _listing(config, "train", classes)
    if unknown := sorted({*_folders(root / "test")} - {*classes}):
        raise UserError(
            f"data.root={root}: test has {unknown[0]}, which is no class of train; there are "
            f"{_shown(classes)}"
        )
    test = _listing(config, "test", classes, some_empty=True)
    return train, test


def _listing(
    config: FolderData, split: str, classes: Sequence[str], *, some_empty: bool = False
) -> Listing:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        folder = Path(config.root, split, name)
        found = image_files(folder)
        if not found and not some_empty:
            raise _wrong(config, folder)
        files += found
        labels += [label] * len(found)
    if not files:
        raise _wrong(config, Path(config.root, split))
    return Listing(files, labels, classes)


def image_files(folder: Path) -> list[Path]:
    """The images below a folder, by their names' endings, in alphabetical order."""
    return sorted(
        Path(where, file)
        for where, _, names in os.walk(folder, followlinks=True)
        for file in names
        if file.lower().endswith(ENDINGS) and not file.startswith(".")
    )


def _folders(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _wrong(config: FolderData, folder: Path, hint: str = "") -> UserError:
    """A folder that does not have what it should."""
    if folder.is_dir():
        names = sorted(path.name for path in folder.iterdir())
        there = f"has {_shown(names) or 'nothing in it'}"
    else:
        there = "is no folder" if folder.exists() else "is not there"
    return UserError(
        f"data.root={config.root}: needs images in train/CLASS and test/CLASS, "
        f"{' '.join(ENDINGS[:3])} and the like; {folder} {there}{hint}"
    )


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_SHOWN:,} more" * (len(names) > MOST_SHOWN)
    return ", ".join(names[:MOST_SHOWN]) + more


def _shape(config: FolderData, first: Path) -> tuple[int, int, int]:
    """[C, H, W] of all images: as configured, else those of the first training image."""
    from PIL import Image

    try:
        with Image.open(first) as image:
            width, height = image.size
            channels = 1 if image.mode in GREY else 3
    except Exception as error:  # damaged bytes raise anything
        raise _broken(first, error) from error
    if config.size is not None:
        width = height = config.size
    return (channels if config.channels == "auto" else config.channels), height, width


def _decoded(config: FolderData, listing: Listing, shape: tuple[int, int, int]) -> Pixels:
    """The pixels of all files, uint8 [N, C, H, W]. Several at a time, since decoding leaves Python
    to the others."""
    pixels = np.empty((len(listing.files), *shape), np.uint8)
    decode = partial(_decode, config, shape)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, image in enumerate(pool.map(decode, listing.files)):
            pixels[number] = image
    return pixels


def _decode(config: FolderData, shape: tuple[int, int, int], path: Path) -> Pixels:
    """One image, uint8 [C, H, W]; ``fitted`` to the square of ``data.size``."""
    from PIL import Image

    _, height, width = shape
    try:
        with Image.open(path) as image:
            if config.size is None and image.size != (width, height):
                raise UserError(
                    f"{path}: {image.width}x{image.height} pixels, the first image has "
                    f"{width}x{height}; give data.size=N to make all of them NxN"
                )
            return fitted(image, shape)
    except UserError:
        raise
    except Exception as error:  # damaged bytes raise anything
        raise _broken(path, error) from error


def fitted(image: "Image", shape: Sequence[int]) -> Pixels:
    """A PIL image as uint8 of this shape [C, H, W]: in brightness or in colours, and, where it has
    another size, scaled so that it covers this one, and cut at its centre. Raises ValueError for
    pixels of more than 8 bits."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"pixels of mode {image.mode}, must have 8 bits")
    plain = image.convert("L" if channels == 1 else "RGB")
    if plain.size != (width, height):
        plain = ImageOps.fit(plain, (width, height), Image.Resampling.BILINEAR)
    values = np.asarray(plain)
    return values[None] if channels == 1 else values.transpose(2, 0, 1)


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable image ({one_line(error)})")


def _cache(config: FolderData, shape: tuple[int, int, int]) -> Path:
    """The file in which the decoded images are kept: one for each folder and shape."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    name = hashlib.sha256(json.dumps([config.root, config.size, *shape]).encode()).hexdigest()
    return Path(base, "node-train", f"folder-{name[:16]}.npz")


def _key(config: FolderData, listings: Sequence[Listing], shape: tuple[int, int, int]) -> str:
    """A digest of the names, sizes and times of change of all files, and of how they are read."""
    digest = hashlib.sha256(json.dumps([config.size, *shape]).encode())
    for listing in listings:
        for file, label in zip(listing.files, listing.labels, strict=True):
            status = file.stat()
            line = (str(file.relative_to(config.root)), label, status.st_size, status.st_mtime_ns)
            digest.update(json.dumps(line).encode())
    return digest.hexdigest()


def _cached(path: Path, key: str, shapes: list[tuple[int, ...]]) -> list[Pixels] | None:
    """What was kept under this key; None where there is nothing, or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if str(archive["key"]) != key:
                return None
            found = [archive["train"], archive["test"]]
    except Exception:  # not there, or damaged bytes, which raise anything
        return None
    right = all(a.dtype == np.uint8 and a.shape == s for a, s in zip(found, shapes, strict=True))
    return found if right else None


def _keep(path: Path, key: str, pixels: Sequence[Pixels]) -> None:
    """Write the cache, under a temporary name first; a failure costs the cache alone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    train, test = pixels
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, key=np.array(key), train=train, test=test)
        temporary.replace(path)
    except OSError as error:
        complain(f"{path}: decoded images are not kept ({error.strerror})")
        with suppress(OSError):
            temporary.unlink()
