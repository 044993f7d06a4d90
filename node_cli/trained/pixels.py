"""Images of any kind and size as pixels of the kind and size that a model was trained on."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from node_cli.data.folders import fitted

ImagesLike: TypeAlias = "Image.Image | Tensor | Sequence[Image.Image | Tensor]"

# Of red, green and blue in the brightness of a pixel: ITU-R 601, as PIL has them.
LUMA = (0.299, 0.587, 0.114)


def pixels_of(images: ImagesLike, shape: Sequence[int]) -> Tensor:
    """Pixels [N, C, H, W] from 0 to 255: uint8, or floating-point numbers.

    Args:
        images: a PIL image; a tensor [H, W], [C, H, W] or [N, C, H, W], of uint8 from 0 to 255 or
            of floating-point numbers from 0 to 1; or a list of these.
        shape: [C, H, W]. Colours become brightness or the other way round. An image of another size
            is scaled so that it covers this one, and cut at its centre.

    Raises TypeError and ValueError for what is none of these.
    """
    if isinstance(images, Tensor):
        return _of_tensor(images, shape)
    if isinstance(images, list | tuple):
        if not images:
            raise ValueError("images: an empty list")
        return torch.cat([pixels_of(image, shape) for image in images])
    if not isinstance(images, Image.Image):
        kind = type(images).__name__
        raise TypeError(f"images: a {kind}; give PIL images, tensors, or a list of them")
    return torch.from_numpy(np.array(fitted(images, shape))).unsqueeze(0)  # a copy, to write to


def _of_tensor(images: Tensor, shape: Sequence[int]) -> Tensor:
    if not (images.dtype == torch.uint8 or images.is_floating_point()):
        kind = str(images.dtype).removeprefix("torch.")
        raise TypeError(f"images: {kind}, must be uint8 (0 to 255) or floating-point (0 to 1)")
    if not 2 <= images.ndim <= 4 or images.numel() == 0:
        given = [*images.shape]
        raise ValueError(f"images: shape {given}, must be [H, W], [C, H, W] or [N, C, H, W]")
    images = images.reshape(*[1] * (4 - images.ndim), *images.shape)
    if images.shape[1] not in (1, 3, shape[0]):
        raise ValueError(f"images: {images.shape[1]} channels in [N, C, H, W], must be 1 or 3")
    if images.is_floating_point():
        low, high = (float(x) for x in images.detach().aminmax())
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"images: from {low:g} to {high:g}, floating-point numbers must be 0 to 1, before "
                "any normalisation"
            )
        images = images * 255
    return _sized(_in_channels(images, shape[0]), *shape[1:])


def _in_channels(images: Tensor, channels: int) -> Tensor:
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.expand(-1, 3, -1, -1)
    weights = torch.tensor(LUMA, device=images.device).view(1, 3, 1, 1)
    return (images * weights.to(images if images.is_floating_point() else weights)).sum(1, True)


def _sized(images: Tensor, height: int, width: int) -> Tensor:
    """Scaled to cover height and width, and cut at the centre."""
    rows, columns = images.shape[2:]
    if (rows, columns) == (height, width):
        return images
    kept = min(rows, round(columns * height / width)), min(columns, round(rows * width / height))
    top, left = ((have - keep) // 2 for have, keep in zip((rows, columns), kept, strict=True))
    cut = images[:, :, top : top + max(1, kept[0]), left : left + max(1, kept[1])]
    numbers = cut if cut.is_floating_point() else cut.float()
    return interpolate(numbers, (height, width), mode="bilinear", antialias=True)
