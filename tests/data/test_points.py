"""Points in the plane: their shapes, their noise, and that nothing changes them."""

from collections.abc import Callable

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.data.catalog import POINTS
from node_cli.data.sources import load
from node_cli.learn.classification import Classification
from node_cli.tasks.setup import Setup

Configure = Callable[..., Config]


def read(config: Config, split: str = "train", seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    images = load(config.image_data, seed)[split]
    return images.pixels.reshape(-1, 2) / 255, images.labels


@pytest.mark.parametrize("name", POINTS)
def test_both_classes_are_there_and_seeds_differ(configure: Configure, name: str) -> None:
    config = configure(f"data={name}", "model=toy")
    points, labels = read(config)
    assert labels.bincount().tolist() == [450, 450], "1,000 less the holdout"
    assert points.mean(0).abs().max() < 0.2
    assert torch.equal(points, read(config)[0])
    assert not torch.equal(points, read(config, seed=1)[0])
    assert not torch.equal(read(config, "test")[0][:900], points)


def test_where_they_lie_without_noise(configure: Configure) -> None:
    def exact(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return read(configure(f"data={name}", "model=toy", "data.noise=0"))

    points, labels = exact("circles")
    radius = points.norm(dim=1)
    assert torch.allclose(radius, 1.25 - 0.75 * labels, atol=1e-5)
    points, labels = exact("moons")
    centre = torch.stack([labels - 0.5, 0.5 * labels - 0.25], 1)
    assert torch.allclose((points - centre).norm(dim=1), torch.ones(900), atol=1e-5)
    points, labels = exact("spirals2d")
    along = (points.norm(dim=1) - 0.15) / 1.35
    angle = 3 * torch.pi * along + torch.pi * labels
    assert torch.allclose(points[:, 0], points.norm(dim=1) * angle.cos(), atol=1e-4)
    noisy, _ = read(configure("data=spirals2d", "model=toy", "data.noise=0.3"))
    assert (noisy - points).std().item() == pytest.approx(0.3, abs=0.02)


def test_an_evaluation_leaves_them_as_they_are(configure: Configure) -> None:
    """Floating point is preprocessed into a copy; the model gets the points themselves."""
    objective = Setup(configure("data=moons", "model=toy")).objective
    assert isinstance(objective, Classification)
    before = objective.images["test"].pixels.clone()
    objective.evaluate(0)
    assert torch.equal(objective.images["test"].pixels, before)
    seen = objective.preprocess(before)
    assert torch.allclose(seen.flatten(1), before.flatten(1) / 255)


def test_what_does_not_fit_is_refused(configure: Configure) -> None:
    with pytest.raises(ValueError, match=r"data\.augment"):
        configure("data=moons", "model=toy", "data.augment=[mixup]")
    with pytest.raises(ValueError, match=r"data\.noise=-1"):
        configure("data=moons", "model=toy", "data.noise=-1")
    with pytest.raises(ValueError, match=r"model\.stem=conv: does not take .* data=moons, \[1, 1"):
        Classification.build(configure("data=moons", "model=conv"))
