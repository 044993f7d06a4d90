"""Batches: the same numbers as torchvision's transforms."""

import pytest
import torch
from torch import Tensor

from node_cli.data.batches import Preprocess, in_batches
from node_cli.data.images import ImageSet

CPU = torch.device("cpu")


def pixels(n: int = 6, channels: int = 3, size: int = 12) -> Tensor:
    torch.manual_seed(0)
    return torch.randint(1, 256, (n, channels, size, size), dtype=torch.uint8)


def raw() -> Preprocess:
    return Preprocess(torch.float64, CPU, None, None)


def test_same_numbers_as_torchvision() -> None:
    from torchvision.transforms import v2

    mean, std = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
    theirs = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    ours = Preprocess(torch.float32, CPU, mean, std)(pixels())
    torch.testing.assert_close(ours, theirs(pixels()), rtol=1e-6, atol=1e-6)
    assert pixels().min() > 0, "the pixels themselves are left alone"


def test_without_normalisation_pixels_lie_in_0_1() -> None:
    batch = raw()(pixels())
    assert torch.equal(batch, pixels().double() * (1 / 255))


@pytest.mark.parametrize("order", [None, torch.tensor([4, 0, 3, 1, 2])])
def test_batches_cover_everything_once_and_keep_a_partial_one(order: Tensor | None) -> None:
    images = ImageSet(pixels(5), torch.arange(5))
    labels = [batch.labels for batch in in_batches(images, 2, torch.device("cpu"), order)]
    assert [len(batch) for batch in labels] == [2, 2, 1]
    assert torch.equal(torch.cat(labels), torch.arange(5) if order is None else order)
