"""Augmentations of single images, of all of a batch at once: each image has draws of its own, where
the classes of torchvision.transforms.v2 draw once for a batch."""

import math

import torch
from torch import Generator, Tensor

from node_cli.ode.transfer import sent

ERASED = 0.02, 0.33  # the smallest and the largest part of an image
ERASED_RATIO = 0.3, 3.3  # of height to width
TRIES = 10  # to draw a rectangle that fits


def crop(pixels: Tensor, generator: Generator, padding: int) -> Tensor:
    """A crop of the original size from each image padded with zeros."""
    n, _, height, width = pixels.shape
    padded = torch.nn.functional.pad(pixels, [padding] * 4)
    corner = torch.randint(2 * padding + 1, (2, n, 1), generator=generator)
    rows, columns = sent(corner, pixels.device)
    rows = rows + torch.arange(height, device=pixels.device)
    columns = columns + torch.arange(width, device=pixels.device)
    image = torch.arange(n, device=pixels.device).view(n, 1, 1)
    # Indices around the channel slice put the channels last.
    found = padded[image, :, rows.unsqueeze(2), columns.unsqueeze(1)]
    return found.permute(0, 3, 1, 2).contiguous()


def flip(pixels: Tensor, generator: Generator) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    mirrored = torch.randint(2, (len(pixels), 1, 1, 1), generator=generator).bool()
    return torch.where(sent(mirrored, pixels.device), pixels.flip(3), pixels)


def erase(images: Tensor, generator: Generator, probability: float) -> Tensor:
    """A rectangle of each image set to zero, the mean of normalised pixels, with a probability.

    As ``RandomErasing`` of torchvision: area and ratio uniform (the ratio in its logarithm), drawn
    anew where the rectangle is not smaller than the image.
    """
    n, _, height, width = images.shape

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    area = height * width * (ERASED[0] + (ERASED[1] - ERASED[0]) * drawn(TRIES, n))
    smallest, largest = map(math.log, ERASED_RATIO)
    ratio = (smallest + (largest - smallest) * drawn(TRIES, n)).exp()
    sizes = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()]).round()  # [2, TRIES, n]
    whole = torch.tensor([height, width], dtype=torch.float64).view(2, 1)
    fits = (sizes < whole.unsqueeze(1)).all(0)
    first = fits.double().argmax(0)  # the first that does
    size = sizes.gather(1, first.expand(2, 1, n)).squeeze(1)
    corner = (drawn(2, n) * (whole - size + 1)).floor()
    erased = (drawn(n) < probability) & fits.any(0)
    edges = torch.cat([corner, corner + size * erased]).long()  # [4, n]
    top, left, bottom, right = sent(edges.view(4, n, 1, 1, 1), images.device)
    row = torch.arange(height, device=images.device).view(height, 1)
    column = torch.arange(width, device=images.device)
    inside = (top <= row) & (row < bottom) & (left <= column) & (column < right)
    return images.masked_fill(inside, 0.0)
