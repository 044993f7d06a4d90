"""Augmentations: what each does to images and labels, drawn by the generator alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from node_cli.config.check import checked
from node_cli.config.schema import Config
from node_cli.data.augment import Augmented
from node_cli.data.augment_images import crop, erase, flip
from node_cli.data.augmentations import AUGMENTATIONS, OPTIONS
from node_cli.data.batches import Preprocess
from node_cli.data.images import ImageSet
from node_cli.data.mixing import cutmix, mixup
from node_cli.data.streams import stream

Configure = Callable[..., Config]
RAW = Preprocess(torch.float64, torch.device("cpu"), None, None)


def pixels(n: int = 6, channels: int = 3, size: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (n, channels, size, size)
    return torch.randint(1, 256, shape, generator=generator, dtype=torch.uint8)


def test_a_crop_is_a_window_of_the_padded_image() -> None:
    images, padding = pixels(), 3
    padded = torch.nn.functional.pad(images, [padding] * 4)
    offsets = set()
    for original, cropped in zip(padded, crop(images, stream(0), padding), strict=True):
        found = [
            (i, j)
            for i in range(2 * padding + 1)
            for j in range(2 * padding + 1)
            if torch.equal(original[:, i : i + 12, j : j + 12], cropped)
        ]
        assert len(found) == 1
        offsets.update(found)
    assert len(offsets) > 1, "each image has its own"


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    images = pixels(400, 1, 4)
    flipped = flip(images, stream(1))
    mirrored = (flipped == images.flip(3)).all(-1).all(-1).all(-1)
    assert ((flipped == images).all(-1).all(-1).all(-1) | mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_erasing_is_that_of_torchvision() -> None:
    """One rectangle, inside the image; the areas, ratios and places have the same distribution."""
    from torchvision.transforms import v2

    images = torch.ones(4000, 1, 20, 30)
    ours = erase(images, stream(2), probability=0.5) == 0
    torch.manual_seed(0)
    theirs_of = v2.RandomErasing(0.5, (0.02, 0.33), (0.3, 3.3))
    theirs = torch.stack([theirs_of(image) for image in images[:2000]]) == 0
    for image in ours[:100, 0]:
        rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
        if len(rows):
            assert image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    for of in (
        lambda x: x.any(-1).any(-1).double(),
        lambda x: x.double().mean((-1, -2)),
        lambda x: x.any(-1).double().sum(-1),
        lambda x: x.double().mean(-1)[..., 3],
        lambda x: x.double().mean(-2)[..., -1],
    ):
        a, b = of(ours), of(theirs)
        assert abs(a.mean() - b.mean()) < 4 * b.std() * (1 / 4000 + 1 / 2000) ** 0.5


def test_mixup() -> None:
    images, labels = torch.rand(5, 1, 4, 4), torch.eye(5)
    mixed, shares = mixup(images, labels, stream(0), alpha=1.0)
    share = float(shares[0, 0])
    assert 0 < share < 1
    torch.testing.assert_close(mixed, share * images + (1 - share) * images.roll(1, 0))
    torch.testing.assert_close(shares, share * labels + (1 - share) * labels.roll(1, 0))


def test_cutmix_mixes_labels_by_area() -> None:
    images = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 1, 20, 30)
    seen = set()
    for step in range(20):
        mixed, shares = cutmix(images, torch.eye(5), stream(step), alpha=1.0)
        kept = (mixed == images).double().mean((1, 2, 3)).float()
        torch.testing.assert_close(shares.diagonal(), kept)
        torch.testing.assert_close(shares.sum(1), torch.ones(5))
        assert ((mixed == images) | (mixed == images.roll(1, 0))).all()
        seen.add(round(float(kept[0]), 3))
    assert len(seen) > 10


def test_the_share_is_that_of_beta() -> None:
    """Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2 a + 1))."""
    one = torch.tensor([[1.0], [0.0]])
    shares = [float(mixup(one, one, stream(s), alpha=0.2)[1][0]) for s in range(1000)]
    found = torch.tensor(shares)
    assert float(found.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(found.var()) == pytest.approx(1 / 5.6, rel=0.1)


def test_a_batch_is_a_function_of_seed_and_step(configure: Configure) -> None:
    images = ImageSet(pixels(8, 1), torch.arange(8))
    config = configure(f"data.augment=[{','.join(reversed(AUGMENTATIONS))}]").image_data

    def made(seed: int, step: int) -> tuple[Tensor, Tensor]:
        torch.rand(1)  # what others draw does not matter
        return Augmented(config, seed, RAW, 10)(images, step)

    first, again = made(0, 3), made(0, 3)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[1].shape == (8, 10)
    assert not torch.equal(first[0], made(0, 4)[0])
    assert not torch.equal(first[0], made(1, 3)[0])


def test_true_and_false_of_older_configurations(configure: Configure) -> None:
    """They meant a crop, and a flip of the sets that may be mirrored, drawn as they are now."""
    for name, value, names in (
        ("digits", True, ["crop"]),
        ("cifar10", True, ["crop", "flip"]),
        ("cifar10", False, []),
    ):
        tree = configure(f"data={name}").model_dump()
        tree["data"] = {k: v for k, v in tree["data"].items() if k not in OPTIONS}
        tree["data"]["augment"] = value
        config, notes = checked(tree)
        assert config.image_data.augment == names
        assert not notes
    _, notes = checked(tree, ["data.augment"])
    assert notes == ["data.augment=false: is a list now, data.augment=[]"]

    config = configure("data=cifar10", "data.augment=[flip,crop]").image_data
    generator = stream(5, "augment", 7)
    expected = RAW(flip(crop(pixels(), generator, 4), generator))
    found, _ = Augmented(config, 5, RAW, 10)(ImageSet(pixels(), torch.arange(6)), 7)
    assert torch.equal(found, expected)
