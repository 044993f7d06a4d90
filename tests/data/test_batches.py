"""Batches: the same numbers as torchvision's transforms; augmentation moves images and no more."""

import pytest
import torch
from torch import Tensor

from node_cli.data.batches import CROP_PADDING, Preprocess, in_batches
from node_cli.data.images import ImageSet
from node_cli.data.streams import stream

CPU = torch.device("cpu")


def pixels(n: int = 6, channels: int = 3, size: int = 12) -> Tensor:
    torch.manual_seed(0)
    return torch.randint(1, 256, (n, channels, size, size), dtype=torch.uint8)


def raw(flips: bool = False) -> Preprocess:
    return Preprocess(torch.float64, CPU, None, None, flips)


def test_same_numbers_as_torchvision() -> None:
    from torchvision.transforms import v2

    mean, std = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
    theirs = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    ours = Preprocess(torch.float32, CPU, mean, std, flips=False)(pixels())
    torch.testing.assert_close(ours, theirs(pixels()), rtol=1e-6, atol=1e-6)
    assert pixels().min() > 0, "the pixels themselves are left alone"


def test_without_normalisation_pixels_lie_in_0_1() -> None:
    batch = raw()(pixels())
    assert torch.equal(batch, pixels().double() * (1 / 255))


def test_a_crop_is_a_window_of_the_padded_image() -> None:
    images = pixels()
    padded = torch.nn.functional.pad(images, [CROP_PADDING] * 4)
    cropped = raw()(images, stream(0)).mul(255).round().to(torch.uint8)
    offsets = set()
    for original, crop in zip(padded, cropped, strict=True):
        found = [
            (i, j)
            for i in range(2 * CROP_PADDING + 1)
            for j in range(2 * CROP_PADDING + 1)
            if torch.equal(original[:, i : i + 12, j : j + 12], crop)
        ]
        assert len(found) == 1
        offsets.update(found)
    assert len(offsets) > 1, "each image has its own"


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    images = pixels(400, 1, 4)
    mirrored = 0
    for original, out in zip(images, raw(flips=True)(images, stream(1)), strict=True):
        # Undo the crop by comparing with both orientations of the padded image.
        window = out.mul(255).round().to(torch.uint8)
        padded = torch.nn.functional.pad(original, [CROP_PADDING] * 4)
        windows = padded.unfold(1, 4, 1).unfold(2, 4, 1)  # [1, 9, 9, 4, 4]
        straight = (windows == window[:, None, None]).all(-1).all(-1).any()
        mirrored += int(not straight)
    assert 100 < mirrored < 300


def test_augmentation_is_a_function_of_its_stream() -> None:
    augment = raw(flips=True)
    first, again, other = (augment(pixels(), stream(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("order", [None, torch.tensor([4, 0, 3, 1, 2])])
def test_batches_cover_everything_once_and_keep_a_partial_one(order: Tensor | None) -> None:
    images = ImageSet(pixels(5), torch.arange(5))
    labels = [batch.labels for batch in in_batches(images, 2, torch.device("cpu"), order)]
    assert [len(batch) for batch in labels] == [2, 2, 1]
    assert torch.equal(torch.cat(labels), torch.arange(5) if order is None else order)
