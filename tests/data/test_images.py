"""Splits: a partition, in proportion, a function of the seed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from node_cli.data.images import ImageSet, cut
from node_cli.data.streams import stream


def labelled(labels: list[int]) -> ImageSet:
    """Images that carry their own position as pixels."""
    positions = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1)
    return ImageSet(positions, torch.tensor(labels))


def positions(images: ImageSet) -> list[int]:
    return images.pixels.flatten().tolist()


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=200),
    fraction=st.floats(0, 0.99),
    how=st.sampled_from(["stratified", "last"]),
    seed=st.integers(0, 100),
)
def test_a_cut_is_a_partition_of_the_stated_size(
    labels: list[int], fraction: float, how: str, seed: int
) -> None:
    images = labelled(labels)
    rest, part = cut(images, fraction, how, stream(seed))
    assert len(part) == round(fraction * len(images))
    assert sorted(positions(rest) + positions(part)) == list(range(len(images)))
    assert positions(rest) == sorted(positions(rest))  # file order
    if how == "stratified":
        for label in range(5):
            exact = labels.count(label) * len(part) / len(labels)
            assert abs(int((part.labels == label).sum()) - exact) < 1


def test_last_takes_the_last_images_in_order() -> None:
    rest, part = cut(labelled([0] * 150), 0.1, "last", stream(0))
    assert positions(part) == list(range(135, 150))
    assert positions(rest) == list(range(135))


def test_a_cut_is_a_function_of_the_seed() -> None:
    images = labelled([0, 1] * 50)
    first, again, other = (
        positions(cut(images, 0.2, "stratified", stream(seed))[1]) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_streams_differ_by_purpose_and_not_by_what_was_drawn_before() -> None:
    def numbers(*purpose: str | int) -> list[float]:
        return torch.rand(4, generator=stream(0, *purpose)).tolist()

    assert numbers("order", 1) == numbers("order", 1)
    assert numbers("order", 1) != numbers("order", 2)
    assert numbers("order", 1) != numbers("augment", 1)


@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_stratified_holdout_of_real_proportions(fraction: float) -> None:
    labels = [c for c, n in enumerate([5923, 6742, 5958]) for _ in range(n)]
    images = ImageSet(torch.zeros(len(labels), 1, 1, 1, dtype=torch.uint8), torch.tensor(labels))
    _, part = cut(images, fraction, "stratified", stream(0))
    shares = part.labels.bincount() / images.labels.bincount()
    assert torch.allclose(shares, torch.full((3,), fraction), atol=1e-3)
