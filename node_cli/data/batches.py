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


class Preprocess:
    """uint8 [N, C, H, W] to floating point: scaled to [0, 1], and normalised.

    ``mean``, ``std``: per channel, None for no normalisation.
    """

    def __init__(
        self,
        dtype: torch.dtype,
        device: torch.device,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        self.dtype = dtype
        mean_ = torch.tensor(mean or [0.0], dtype=torch.float64)
        std_ = torch.tensor(std or [1.0], dtype=torch.float64)
        self.scale = (1 / (255 * std_)).to(dtype).to(device).view(-1, 1, 1)
        self.shift = (-mean_ / std_).to(dtype).to(device).view(-1, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        return pixels.to(self.dtype, copy=True).mul_(self.scale).add_(self.shift)


def in_batches(
    images: ImageSet,
    size: int,
    device: torch.device,
    order: Tensor | None = None,
    turn: tuple[int, int] = (0, 1),
) -> Iterator[ImageSet]:
    """Batches on ``device`` of ``size`` images in ``order`` (file order if None); the last one may
    be smaller. ``turn``: (r, n) for batches r, r + n, r + 2 n, ... alone."""
    there = images.labels.device
    if order is not None:
        order = sent(order, there)
    count = len(images) if order is None else len(order)
    first, every = turn
    starts = range(first * size, count, every * size)
    slices = (slice(start, start + size) for start in starts)
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
