"""Augmentations that mix the images of a batch, and their labels with them: each image with the one
before it, the first with the last. The order of a batch is random.

As ``MixUp`` and ``CutMix`` of torchvision.transforms.v2, which draw from torch's global generator.
"""

import numpy as np
import torch
from torch import Generator, Tensor

from node_cli.data.streams import whole_number


def mixup(
    images: Tensor, labels: Tensor, generator: Generator, alpha: float
) -> tuple[Tensor, Tensor]:
    """share * x + (1 - share) * other, of images [N, C, H, W] and of labels [N, classes]; the share
    is drawn once, from Beta(alpha, alpha)."""
    share = _beta(generator, alpha)
    return _mixed(images, share), _mixed(labels, share)


def cutmix(
    images: Tensor, labels: Tensor, generator: Generator, alpha: float
) -> tuple[Tensor, Tensor]:
    """One rectangle of each image is that of the other. Its part of the area is drawn from
    Beta(alpha, alpha), its centre uniformly; what lies outside of the image is cut off."""
    height, width = images.shape[2:]
    side = (1 - _beta(generator, alpha)) ** 0.5
    x, y = (int(torch.randint(n, (), generator=generator)) for n in (width, height))
    half_width, half_height = int(side * width / 2), int(side * height / 2)
    left, right = max(x - half_width, 0), min(x + half_width, width)
    top, bottom = max(y - half_height, 0), min(y + half_height, height)
    cut = images.clone()
    cut[..., top:bottom, left:right] = images.roll(1, 0)[..., top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return cut, _mixed(labels, share)


def _mixed(values: Tensor, share: float) -> Tensor:
    return values * share + values.roll(1, 0) * (1 - share)


def _beta(generator: Generator, alpha: float) -> float:
    """torch draws from Beta with its global generator alone."""
    return float(np.random.default_rng(whole_number(generator)).beta(alpha, alpha))
