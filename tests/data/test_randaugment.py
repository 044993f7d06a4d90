"""RandAugment: each operation against torchvision, and what is drawn."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from node_cli.data.randaugment import MAGNITUDES, OPERATIONS, randaugment
from node_cli.data.streams import stream

THEIRS = v2.RandAugment()
PAIRS = dict(zip(OPERATIONS, THEIRS._AUGMENTATION_SPACE.items(), strict=True))


def pixels(n: int, channels: int, height: int, width: int, darkest: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    shape = n, channels, height, width
    return torch.randint(darkest, 256 - darkest, shape, generator=generator, dtype=torch.uint8)


def torchvision_of(name: str, images: Tensor, strength: float) -> Tensor:
    fill: dict[type | str, None] = {Tensor: None, "others": None}
    nearest = v2.InterpolationMode.NEAREST
    found = THEIRS._apply_image_or_video_transform(images, name, strength, nearest, fill)
    return torch.as_tensor(found)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_that_of_torchvision(name: str) -> None:
    """At every magnitude, of both signs. Within one level; the nearest pixel of a sheared image is
    another one where two are as near."""
    operation, (theirs, (magnitudes, signed)) = OPERATIONS[name], PAIRS[name]
    assert theirs.lower() == name.replace("_", "")
    assert signed == operation.signed
    for images in (pixels(4, 3, 20, 31), pixels(5, 1, 28, 28, darkest=60), pixels(2, 3, 2, 2)):
        images[0] = 7  # the same everywhere
        scale = 255 if name == "solarize" else 1
        if name.startswith("translate"):
            scale = 1 / images.shape[3 if name.endswith("x") else 2]
        others = []
        for magnitude in range(0, MAGNITUDES + 1, 3):
            strengths = magnitudes(MAGNITUDES + 1, *images.shape[2:])
            for sign in (1, -1)[: 1 + signed]:
                strength = 0.0 if strengths is None else sign * float(strengths[magnitude])
                ours = sign * operation.strength(magnitude)
                whole = ours if name != "posterize" else round(ours)
                assert whole == pytest.approx(scale * strength, rel=1e-6, abs=1e-5)
                expected = torchvision_of(theirs, images, strength).int()
                given = torch.full((len(images), 1, 1, 1), scale * strength)
                difference = (operation.apply(images, given).int() - expected).abs()
                if name.startswith("shear"):
                    others.append((difference > 0).double().mean())
                else:
                    assert int(difference.max()) <= 1
        assert sum(others) <= 0.002 * len(others)


def test_images_do_not_depend_on_each_other() -> None:
    """Each has operations of its own, all of them are drawn, and the given pixels stay."""
    images = pixels(200, 3, 8, 8)
    before = images.clone()
    found = randaugment(images, stream(0), operations=1, magnitude=20)
    assert torch.equal(images, before)
    draws = torch.randint(len(OPERATIONS), (200,), generator=stream(0))
    assert len({*draws.tolist()}) == len(OPERATIONS)
    moved = (found != images).flatten(1).any(1)
    assert not moved[draws == 0].any()  # the identity
    assert moved[draws == 5].all()
    one = int((draws == 12).nonzero()[0])
    expected = OPERATIONS["autocontrast"].apply(images[one : one + 1], torch.zeros(1, 1, 1, 1))
    assert torch.equal(found[one], expected[0])
