"""The data sets that torchvision has: read, checked, and downloaded where they are missing."""

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from node_cli.config.data import Downloaded, DownloadedSplit
from node_cli.data.catalog import IMAGES, Images
from node_cli.data.checksums import altered
from node_cli.data.images import ImageSet
from node_cli.errors import UserError, complain, one_line

# Seconds without a byte after which a download has failed.
SILENCE = 60.0


def facts(config: Downloaded) -> Images:
    """What is known of the set before it is read. Raises ``UserError`` where it is not there and
    not to be downloaded."""
    if not config.download and not _folder(config).is_dir():
        raise _missing(config)
    row = IMAGES[config.name]
    if not isinstance(config, DownloadedSplit):
        return row
    split, arguments = row.splits[config.split], {"split": config.split}
    train, test = ({**part, **arguments} for part in row.parts)
    return replace(
        row,
        train_images=split.train_images,
        names=split.names,
        first_label=split.first_label,
        parts=(train, test),
    )


def read(config: Downloaded) -> tuple[ImageSet, ImageSet]:
    """Training and test images. Raises ``UserError`` where files cannot be downloaded or are
    damaged."""
    name = IMAGES[config.name].torchvision
    for path in altered(_folder(config), str(name)):
        complain(f"warning: {path}: not the published file, its checksum is another one")
    try:
        return _read(config, download=False)
    except FileNotFoundError:
        if not config.download:
            raise _missing(config) from None
    except Exception as error:  # damaged bytes raise anything
        raise UserError(
            f"data.root={config.root}: {name} is damaged ({one_line(error)}); delete its files in "
            f"{_folder(config)} to have them downloaded again"
        ) from error
    timeout = socket.getdefaulttimeout()
    print(f"downloading {name} to {_folder(config)}", flush=True)
    socket.setdefaulttimeout(SILENCE)  # torchvision sets none, and a silent server has time
    try:
        return _read(config, download=True)
    except Exception as error:  # no network, a full disk, a wrong checksum
        raise _missing(config, f"could not be downloaded ({one_line(error)})") from error
    finally:
        socket.setdefaulttimeout(timeout)


def _folder(config: Downloaded) -> Path:
    return Path(config.root) / IMAGES[config.name].folder


def _missing(config: Downloaded, reason: str = "data.download=false") -> UserError:
    name, folder = IMAGES[config.name].torchvision, IMAGES[config.name].folder
    start = f"data.root={config.root}: {name} is missing and {reason}; "
    root = Path(config.root)
    for above in root.parents if folder else ():  # the set's own folder was given, or one inside it
        if (above / folder).is_dir() and (above / folder) in (root, *root.parents):
            return UserError(f"{start}it lies in {above}: type data.root={above}")
    packed = sorted(_folder(config).glob("raw/*.gz"))
    if packed and not config.download:
        return UserError(
            f"{start}{packed[0].parent} has packed files only: unpack them with "
            f"gunzip -k {packed[0].parent}/*.gz"
        )
    return UserError(
        f"{start}set data.root to a folder that has it, or stay offline with data=digits"
    )


def _read(config: Downloaded, *, download: bool) -> tuple[ImageSet, ImageSet]:
    """Training and test images; FileNotFoundError where they are missing and not to be fetched."""
    # Imported here, since it takes seconds: a run on digits does without.
    from torchvision import datasets

    known = facts(config)
    dataset = getattr(datasets, str(known.torchvision))
    try:
        train, test = (dataset(config.root, download=download, **part) for part in known.parts)
    except RuntimeError as error:
        if not download and "not found" in str(error):
            raise FileNotFoundError from error
        raise
    return _image_set(train, known), _image_set(test, known)


def _image_set(dataset: Any, known: Images) -> ImageSet:
    pixels = torch.as_tensor(dataset.data)
    if pixels.ndim == 3:
        pixels = pixels.unsqueeze(1)
    elif pixels.shape[1:] != known.shape:
        pixels = pixels.permute(0, 3, 1, 2)  # channels last
    if known.transposed:
        pixels = pixels.transpose(2, 3)
    labels = torch.as_tensor(dataset.targets if hasattr(dataset, "targets") else dataset.labels)
    labels = (labels[:, 0] if labels.ndim == 2 else labels).long() - known.first_label
    if pixels.shape[1:] != known.shape or pixels.dtype != torch.uint8:
        raise ValueError(f"images of {[*pixels.shape[1:]]} {pixels.dtype}")
    if len(labels) != len(pixels):
        raise ValueError(f"{len(labels):,} labels for {len(pixels):,} images")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= known.classes:
        first = known.first_label
        raise ValueError(f"labels other than {first} to {first + known.classes - 1}")
    return ImageSet(pixels.contiguous(), labels)
