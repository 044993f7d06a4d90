"""From uint8 images to batches. The work is done on the device, where the whole set lies if it fits
(``placement.py``).

What the batches of a training hold is a function of the seed and the step, so that any of them can
be made again.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from node_cli.config.schema import Config
from node_cli.data.images import ImageSet
from node_cli.data.placement import copied_ahead
from node_cli.data.streams import stream
from node_cli.errors import UserError
from node_cli.ode.transfer import sent

CROP_PADDING = 4


class Preprocess:
    """uint8 [N, C, H, W] to floating point: scaled to [0, 1], normalised, and augmented on request.

    ``mean``, ``std``: per channel, None for no normalisation. ``flips``: augmentation also mirrors.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        device: torch.device,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        flips: bool,
    ) -> None:
        self.dtype = dtype
        self.flips = flips
        mean_ = torch.tensor(mean or [0.0], dtype=torch.float64)
        std_ = torch.tensor(std or [1.0], dtype=torch.float64)
        self.scale = (1 / (255 * std_)).to(dtype).to(device).view(-1, 1, 1)
        self.shift = (-mean_ / std_).to(dtype).to(device).view(-1, 1, 1)

    def __call__(self, pixels: Tensor, augment: torch.Generator | None = None) -> Tensor:
        if augment is not None:
            pixels = _random_crop(pixels, augment)
            if self.flips:
                pixels = _random_flip(pixels, augment)
        return pixels.to(self.dtype, copy=True).mul_(self.scale).add_(self.shift)


def _random_crop(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """A crop of the original size from each image padded with zeros by ``CROP_PADDING``."""
    n, _, height, width = pixels.shape
    padded = torch.nn.functional.pad(pixels, [CROP_PADDING] * 4)
    corner = torch.randint(2 * CROP_PADDING + 1, (2, n, 1), generator=generator)
    rows, columns = sent(corner, pixels.device)
    rows = rows + torch.arange(height, device=pixels.device)
    columns = columns + torch.arange(width, device=pixels.device)
    image = torch.arange(n, device=pixels.device).view(n, 1, 1)
    # Indices around the channel slice put the channels last.
    crop = padded[image, :, rows.unsqueeze(2), columns.unsqueeze(1)]
    return crop.permute(0, 3, 1, 2).contiguous()


def _random_flip(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    mirrored = torch.randint(2, (len(pixels), 1, 1, 1), generator=generator).bool()
    return torch.where(sent(mirrored, pixels.device), pixels.flip(3), pixels)


def in_batches(
    images: ImageSet, size: int, device: torch.device, order: Tensor | None = None
) -> Iterator[ImageSet]:
    """Batches on ``device`` of ``size`` images in ``order`` (file order if None); the last one may
    be smaller."""
    there = images.labels.device
    if order is not None:
        order = sent(order, there)
    count = len(images) if order is None else len(order)
    slices = (slice(start, start + size) for start in range(0, count, size))
    parts = (part if order is None else order[part] for part in slices)
    if there.type == device.type:
        return (images[part] for part in parts)
    return copied_ahead(images, parts, device)


def batches_per_epoch(config: Config, images: int) -> int:
    """Batches that ``images`` training images make. Raises ``UserError`` where there are none."""
    size = config.batch_size
    batches = images // size if config.image_data.drop_last else -(-images // size)
    if batches == 0:
        raise UserError(
            f"batch_size={size}: data.drop_last=true leaves nothing of {images} training images"
        )
    return batches


def order_of_epoch(config: Config, images: int, epoch: int) -> Tensor:
    """Which training images the batches of an epoch take, one after the other."""
    order = torch.randperm(images, generator=stream(config.seed, "order", epoch))
    return order[: batches_per_epoch(config, images) * config.batch_size]


def augmentation(config: Config, step: int) -> torch.Generator | None:
    """What the batch of a training step is augmented with, None where it is not."""
    return stream(config.seed, "augment", step) if config.image_data.augment else None
