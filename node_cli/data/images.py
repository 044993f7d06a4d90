"""A labelled set of images as two tensors, and cutting a part off it."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSet:
    """``pixels``: uint8 [N, C, H, W]; ``labels``: int64 [N]."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice) -> "ImageSet":
        return ImageSet(self.pixels[index], self.labels[index])

    def to(self, device: torch.device) -> "ImageSet":
        return ImageSet(self.pixels.to(device), self.labels.to(device))


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
