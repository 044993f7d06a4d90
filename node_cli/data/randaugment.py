"""RandAugment (Cubuk et al. 2020): of a table of operations, each image gets some drawn at random,
all of one magnitude.

The operations and their strengths are those of ``RandAugment`` of torchvision.transforms.v2, with
nearest-neighbour sampling, and black where an image is moved away. There one draw, from the global
generator, is for a whole batch, and operations wait for the device; here each image has draws of
its own. Pixels are the same, but for one level of 255 where a product is rounded otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from node_cli.ode.transfer import sent

MAGNITUDES = 30  # the largest magnitude


def randaugment(pixels: Tensor, generator: Generator, operations: int, magnitude: int) -> Tensor:
    """So many operations, one after the other, on each image: uint8 [N, C, H, W], C 1 or 3.

    ``magnitude``: 0 to 30. Cost: every operation is computed for the images alone that drew it, in
    at most 13 groups for each of the ``operations``.
    """
    n = len(pixels)
    for _ in range(operations):
        drawn = torch.randint(len(OPERATIONS), (n,), generator=generator)
        signs = 2.0 * torch.randint(2, (n, 1, 1, 1), generator=generator) - 1
        result = pixels.clone()
        for number, operation in enumerate(OPERATIONS.values()):
            chosen = (drawn == number).nonzero().flatten()
            if len(chosen):
                signed = signs[chosen] if operation.signed else signs[chosen].abs()
                strengths = sent(signed * operation.strength(magnitude), pixels.device)
                index = sent(chosen, pixels.device)
                result[index] = operation.apply(pixels[index], strengths)
        pixels = result
    return pixels


def sheared_x(pixels: Tensor, shear: Tensor) -> Tensor:
    """Each row moved to the left by ``shear`` times its distance from the upper edge."""
    x, y = _places(pixels)
    return _sampled(pixels, x + shear * (y + pixels.shape[2] / 2), y)


def sheared_y(pixels: Tensor, shear: Tensor) -> Tensor:
    """Each column moved up by ``shear`` times its distance from the left edge."""
    x, y = _places(pixels)
    return _sampled(pixels, x, y + shear * (x + pixels.shape[3] / 2))


def translated_x(pixels: Tensor, share: Tensor) -> Tensor:
    """Moved to the right by a share of the width, cut to whole pixels."""
    x, y = _places(pixels)
    return _sampled(pixels, x - (share * pixels.shape[3]).trunc(), y)


def translated_y(pixels: Tensor, share: Tensor) -> Tensor:
    """Moved down by a share of the height, cut to whole pixels."""
    x, y = _places(pixels)
    return _sampled(pixels, x, y - (share * pixels.shape[2]).trunc())


def rotated(pixels: Tensor, degrees: Tensor) -> Tensor:
    """Turned about the centre, counter-clockwise."""
    x, y = _places(pixels)
    cos, sin = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    return _sampled(pixels, cos * x - sin * y, sin * x + cos * y)


def brightened(pixels: Tensor, change: Tensor) -> Tensor:
    """Each pixel times 1 + ``change``."""
    return _bytes(pixels * (1 + change))


def coloured(pixels: Tensor, change: Tensor) -> Tensor:
    """Away from grey, or towards it where ``change`` is negative."""
    return pixels if pixels.shape[1] == 1 else _blended(pixels, _grey(pixels), change)


def contrasted(pixels: Tensor, change: Tensor) -> Tensor:
    """Away from the mean of an image, or towards it."""
    return _blended(pixels, _grey(pixels).mean((1, 2, 3), keepdim=True), change)


def sharpened(pixels: Tensor, change: Tensor) -> Tensor:
    """Away from the blurred image, or towards it; the pixels of the edge stay."""
    if min(pixels.shape[2:]) < 3:
        return pixels
    values, result = pixels.float(), pixels.clone()
    inside = values[..., 1:-1, 1:-1]
    # Weight 5 for the pixel, 1 for each of its neighbours. No convolution: that may be in TF32.
    blurred = ((9 * avg_pool2d(values, 3, 1) + 4 * inside) / 13).round()
    result[..., 1:-1, 1:-1] = _blended(inside, blurred, change)
    return result


def posterized(pixels: Tensor, bits: Tensor) -> Tensor:
    """The upper ``bits`` of each pixel."""
    step = 2 ** (8 - bits.round())
    return _bytes((pixels / step).floor() * step)


def solarized(pixels: Tensor, threshold: Tensor) -> Tensor:
    """Pixels from the threshold on, inverted."""
    return torch.where(pixels >= threshold, 255 - pixels, pixels)


def autocontrasted(pixels: Tensor, _: Tensor) -> Tensor:
    """Each channel stretched to 0 to 255."""
    lowest, highest = (f(pixels, (2, 3), keepdim=True).float() for f in (torch.amin, torch.amax))
    stretched = (pixels - lowest) / ((highest - lowest) / 255)
    return torch.where(highest > lowest, _bytes(stretched.nan_to_num(0)), pixels)


def equalized(pixels: Tensor, _: Tensor) -> Tensor:
    """The levels of each channel spread so that they are about equally frequent, as Pillow does."""
    flat = pixels.flatten(2)
    darker = torch.searchsorted(flat.sort(2).values, flat)  # how many pixels are, for each pixel
    step = darker.amax(2, keepdim=True) // 255
    spread = ((darker + step // 2) // step.clamp(min=1)).clamp(max=255)
    return torch.where(step > 0, spread.to(torch.uint8), flat).view_as(pixels)


@dataclass(frozen=True)
class Operation:
    """``apply``: called with uint8 [n, C, H, W] and the strengths, float32 [n, 1, 1, 1]; returns
    new pixels. ``weakest``, ``strongest``: the strength at magnitudes 0 and 30, linear between.
    ``signed``: whether the strength is negative for half of the images."""

    apply: Callable[[Tensor, Tensor], Tensor]
    weakest: float = 0.0
    strongest: float = 0.0
    signed: bool = False

    def strength(self, magnitude: int) -> float:
        """That of a magnitude."""
        return self.weakest + (self.strongest - self.weakest) * magnitude / MAGNITUDES


OPERATIONS = {
    "identity": Operation(lambda pixels, _: pixels),
    "shear_x": Operation(sheared_x, 0, 0.3, signed=True),
    "shear_y": Operation(sheared_y, 0, 0.3, signed=True),
    "translate_x": Operation(translated_x, 0, 150 / 331, signed=True),
    "translate_y": Operation(translated_y, 0, 150 / 331, signed=True),
    "rotate": Operation(rotated, 0, 30, signed=True),
    "brightness": Operation(brightened, 0, 0.9, signed=True),
    "color": Operation(coloured, 0, 0.9, signed=True),
    "contrast": Operation(contrasted, 0, 0.9, signed=True),
    "sharpness": Operation(sharpened, 0, 0.9, signed=True),
    "posterize": Operation(posterized, 8, 4),
    "solarize": Operation(solarized, 255, 0),
    "autocontrast": Operation(autocontrasted),
    "equalize": Operation(equalized),
}


def _places(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """x [W] and y [H, 1] of the pixels, from the centre."""
    height, width = pixels.shape[2:]
    x = torch.arange(width, device=pixels.device) - (width - 1) / 2
    y = torch.arange(height, device=pixels.device) - (height - 1) / 2
    return x, y.unsqueeze(1)


def _sampled(pixels: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The pixels that lie nearest to places, which broadcast with [n, 1, H, W]; black outside."""
    n, _, height, width = pixels.shape
    places = (x / (width / 2), y / (height / 2))
    grid = torch.stack([place.expand(n, 1, height, width) for place in places], -1).squeeze(1)
    found: Tensor = grid_sample(pixels.float(), grid, "nearest", "zeros", align_corners=False)
    return _bytes(found)


def _grey(pixels: Tensor) -> Tensor:
    """[n, 1, H, W], whole numbers (ITU-R 601-2 luma)."""
    if pixels.shape[1] == 1:
        return pixels.float()
    red, green, blue = pixels.split(1, 1)
    grey: Tensor = 0.2989 * red + 0.587 * green + 0.114 * blue
    return grey.floor()


def _blended(pixels: Tensor, other: Tensor, change: Tensor) -> Tensor:
    """As far away from the other image as ``change`` says."""
    return _bytes(pixels * (1 + change) - other * change)


def _bytes(values: Tensor) -> Tensor:
    return values.clamp(0, 255).to(torch.uint8)
