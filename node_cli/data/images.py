"""A labelled set of images as two tensors, and cutting a part off it."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """``pixels``: uint8 [N, C, H, W], of points in the plane float32 of the same scale, 255 for 1;
    ``labels``: int64 [N]."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "ImageSet":
        return ImageSet(self.pixels[index], self.labels[index])

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "ImageSet":
        pixels, labels = (
            x.to(device, non_blocking=non_blocking) for x in (self.pixels, self.labels)
        )
        return ImageSet(pixels, labels)


PIXELS_AT_ONCE = 2**22


def mean_and_std(pixels: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, of pixels in [0, 1]; 1 for a channel that is
    the same everywhere. ``pixels``: uint8 [N, C, H, W].

    Exact, since it counts how often there is each of the 256 values.
    """
    channels, area = pixels.shape[1], pixels[0, 0].numel()
    counts = torch.zeros(channels, 256, dtype=torch.float64)
    for some in pixels.split(max(1, PIXELS_AT_ONCE // area)):
        for channel in range(channels):
            counts[channel] += some[:, channel].flatten().cpu().bincount(minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(1, keepdim=True)
    mean = shares @ values
    variance = (shares * (values - mean.unsqueeze(1)) ** 2).sum(1)
    std = torch.where(variance > 0, variance.sqrt(), 1.0)
    return mean.tolist(), std.tolist()


def cut(
    images: ImageSet,
    fraction: float,
    how: Literal["stratified", "last"],
    generator: torch.Generator,
) -> tuple[ImageSet, ImageSet]:
    """Cut ``round(fraction * N)`` images off; return (the rest, what was cut off), both in order.

    ``stratified``: each class in proportion, chosen by ``generator``; ``last``: the last ones.
    """
    size = round(fraction * len(images))
    if how == "last":
        return images[: len(images) - size], images[len(images) - size :]
    taken = torch.zeros(len(images), dtype=torch.bool)
    for label, count in enumerate(_proportional(images.labels.bincount(), size)):
        members = (images.labels == label).nonzero().squeeze(1)
        taken[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return images[~taken], images[taken]


def _proportional(counts: Tensor, size: int) -> list[int]:
    """Divide ``size`` in proportion to ``counts`` (largest remainders first), to sum exactly."""
    exact = counts.double() * size / counts.sum()
    share = exact.floor().long()
    largest_remainders = (share - exact).argsort(stable=True)[: size - int(share.sum())]
    share[largest_remainders] += 1
    result: list[int] = share.tolist()
    return result
