"""Where images lie: on the device if they fit, else on the host, with the same batches."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.data import placement
from node_cli.data.batches import in_batches
from node_cli.data.images import ImageSet, mean_and_std
from node_cli.data.placement import SHARE, copied_ahead, place
from tests.folders import assert_same_run
from tests.runs import run

Configure = Callable[..., Config]
CPU, META = torch.device("cpu"), torch.device("meta")


def images(count: int = 10) -> ImageSet:
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(256, (count, 3, 5, 4), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.arange(count))


def test_they_lie_on_the_device_up_to_a_share_of_its_free_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    splits = {"train": images(10), "test": images(5)}
    size = sum(s.pixels.nbytes + s.labels.nbytes for s in splits.values())
    for free, on_device in (
        (round(size / SHARE), True),
        (round(size / SHARE) - 2, False),
        (0, False),
        (None, True),
    ):
        monkeypatch.setattr(placement, "free_memory", lambda _, free=free: free)
        devices = {s.pixels.device for s in place(splits, META).values()}
        assert devices == {META if on_device else CPU}, free
    assert placement.free_memory(CPU) is None


@pytest.mark.parametrize("batches", [0, 1, 2, 3, 7])
def test_batches_that_are_copied_ahead_are_those_of_a_set_on_the_device(batches: int) -> None:
    whole = images(21)
    order = torch.randperm(3 * batches, generator=torch.Generator().manual_seed(0))
    expected = [*in_batches(whole, 3, CPU, order)]
    parts = (order[start : start + 3] for start in range(0, len(order), 3))
    found = [*copied_ahead(whole, parts, CPU)]
    assert len(found) == batches == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.pixels, b.pixels) and torch.equal(a.labels, b.labels)


def test_the_next_batches_are_under_way_while_one_is_in_use() -> None:
    asked: list[int] = []

    def parts():  # type: ignore[no-untyped-def]
        for number in range(6):
            asked.append(number)
            yield slice(number, number + 1)

    batches = copied_ahead(images(6), parts(), CPU)
    next(batches)
    assert asked == [0, 1, 2]
    batches.close()


def test_a_failing_copy_is_raised_where_the_batch_is_asked_for() -> None:
    batches = copied_ahead(images(6), (torch.tensor([n]) for n in (0, 99, 1)), CPU)
    assert len(next(batches)) == 1
    with pytest.raises(IndexError):
        next(batches)
    time.sleep(0)


def test_a_run_from_the_host_is_the_same_run(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training and evaluation: every batch goes through the thread that copies."""
    config = configure("data.limit=150", "epochs=2", "batch_size=32", "data.augment=[crop]")
    usual = run(config, tmp_path / "usual")
    calls = []

    def ahead(whole, parts, device):  # type: ignore[no-untyped-def]
        calls.append(device)
        return copied_ahead(whole, parts, device)

    def from_host(whole, size, device, order=None, turn=None):  # type: ignore[no-untyped-def]
        count = len(whole) if order is None else len(order)
        slices = (slice(start, start + size) for start in range(0, count, size))
        return ahead(whole, (s if order is None else order[s] for s in slices), device)

    monkeypatch.setattr("node_cli.learn.classification.in_batches", from_host)
    monkeypatch.setattr("node_cli.learn.evaluation.in_batches", from_host)
    assert_same_run(usual, run(config, tmp_path / "host"))
    assert calls


def test_mean_and_standard_deviation_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node_cli.data.images.PIXELS_AT_ONCE", 50)  # several parts
    pixels = images(33).pixels
    pixels[:, 1] = 7
    mean, std = mean_and_std(pixels)
    exact = pixels.double() / 255
    assert mean == pytest.approx(exact.mean((0, 2, 3)).tolist(), rel=1e-14)
    right = exact.std((0, 2, 3), correction=0).tolist()
    assert std == pytest.approx([right[0], 1.0, right[2]], rel=1e-12)


@pytest.mark.gpu
def test_a_run_from_pinned_memory_is_the_same_run(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    config = configure("device=cuda", "deterministic=true", "epochs=2", "data.augment=[crop]")
    usual = run(config, tmp_path / "usual")
    monkeypatch.setattr(placement, "free_memory", lambda _: 0)
    assert_same_run(usual, run(config, tmp_path / "host"))
