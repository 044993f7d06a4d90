"""Images of the user's own in folders: every pixel, decoded once, and what is wrong in one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from node_cli.config.schema import Config
from node_cli.data import folders, sources
from node_cli.errors import UserError
from tests.commands import NodeTrain

Configure = Callable[..., Config]
CLASSES = ("ant", "bee", "cat")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "node-train"


def image(number: int, *, colour: bool = False, width: int = 8, height: int = 6) -> Image.Image:
    shape = (height, width, 3) if colour else (height, width)
    pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(pixels)


def write(root: Path, *, colour: bool = False, train: int = 4, test: int = 2) -> Path:
    number = 0
    for split, count in (("train", train), ("test", test)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                image(number, colour=colour).save(root / split / name / f"{i}.png")
                number += 1
    return root


def load(configure: Configure, root: Path, *options: str) -> dict[str, torch.Tensor]:
    config = configure("data=folder", f"data.root={root}", *options).image_data
    splits = sources.load(config, seed=0)
    known = sources.facts(config)
    assert known.train_images == len(splits["train"])
    assert known.shape == splits["train"].pixels.shape[1:]
    return {name: images.pixels for name, images in splits.items()}


@pytest.mark.parametrize("colour", [False, True])
def test_every_pixel_is_that_of_its_file(
    configure: Configure, tmp_path: Path, colour: bool
) -> None:
    """The same images and labels as torchvision's ImageFolder gives."""
    from torchvision.datasets import ImageFolder

    root = write(tmp_path / "set", colour=colour)
    (root / "train" / "bee" / "notes.txt").touch()
    (root / "train" / "bee" / ".hidden.png").touch()
    (root / "test" / ".DS_Store").touch()
    config = configure("data=folder", f"data.root={root}").image_data
    splits = sources.load(config, seed=0)
    for split in ("train", "test"):
        (root / split / "bee" / ".hidden.png").unlink(missing_ok=True)
        expected = ImageFolder(str(root / split))
        assert splits[split].labels.tolist() == expected.targets
        for pixels, (picture, _) in zip(splits[split].pixels, expected, strict=True):
            right = np.asarray(picture if colour else picture.convert("L"))
            right = right.transpose(2, 0, 1) if colour else right[None]
            assert np.array_equal(pixels.numpy(), right)


def test_a_size_and_the_number_of_channels(configure: Configure, tmp_path: Path) -> None:
    root = write(tmp_path / "set", colour=True)
    image(99, width=31, height=17).save(root / "train" / "cat" / "other.jpg")
    with pytest.raises(UserError, match=r"other\.jpg: 31x17 pixels, the first image has 8x6; give"):
        load(configure, root)
    assert load(configure, root, "data.size=5")["train"].shape == (13, 3, 5, 5)
    assert load(configure, root, "data.size=5", "data.channels=1")["train"].shape == (13, 1, 5, 5)


def test_images_are_decoded_once_until_one_changes(
    configure: Configure,
    tmp_path: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = write(tmp_path / "set")
    first = load(configure, root)
    assert capsys.readouterr().out == f"decoding 18 images of {root}\n"
    decoded = folders._decode
    monkeypatch.setattr(folders, "_decode", lambda *_: pytest.fail("decoded again"))
    again = load(configure, root)
    assert all(torch.equal(first[name], again[name]) for name in first)
    (kept,) = cache.iterdir()

    monkeypatch.setattr(folders, "_decode", decoded)
    image(1234).save(root / "train" / "ant" / "0.png")
    changed = load(configure, root)
    assert not torch.equal(first["train"][0], changed["train"][0])
    assert [*cache.iterdir()] == [kept], "one file for each folder"
    (root / "test" / "bee" / "1.png").unlink()
    assert len(load(configure, root)["test"]) == 5
    for damage in (b"", kept.read_bytes()[:-200]):
        kept.write_bytes(damage)
        assert torch.equal(load(configure, root)["train"], changed["train"])


def test_a_cache_that_cannot_be_written_costs_nothing_else(
    configure: Configure, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.parent.write_text("no folder")
    assert len(load(configure, write(tmp_path / "set"))["train"]) == 12
    assert "decoded images are not kept (" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_broken_image_is_one_line_with_its_path(
    configure: Configure, tmp_path: Path, content: bytes
) -> None:
    root = write(tmp_path / "set")
    for name in ("train/cat/3.png", "train/ant/0.png"):  # the first is looked at beforehand
        (root / name).write_bytes(content)
        with pytest.raises(UserError) as caught:
            load(configure, root)
        assert str(caught.value).startswith(f"{root / name}: not a readable image (")
        assert "\n" not in str(caught.value)


def test_images_of_16_bits_are_refused(configure: Configure, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(root / "train" / "bee" / "1.png")
    with pytest.raises(UserError, match=r"bee/1\.png: .*must have 8 bits"):
        load(configure, root)


def empty(root: Path, name: str) -> None:
    for path in (root / name).rglob("*.png"):
        path.unlink()


@pytest.mark.parametrize(
    ("prepare", "line"),
    [
        (lambda root: root.rename(root.parent / "away"), " is not there"),
        (lambda root: (root / "test").rename(root / "val"), " has train, val"),
        (lambda root: empty(root, "train/bee"), "train/bee has nothing in it"),
        (lambda root: empty(root, "test"), "test has ant, bee, cat"),
        (
            lambda root: (root / "train" / "cat").rename(root / "dog"),
            "test has cat, which is no class of train; there are ant, bee",
        ),
    ],
)
def test_a_wrong_folder_is_one_line(
    configure: Configure, tmp_path: Path, prepare: Callable[[Path], None], line: str
) -> None:
    root = write(tmp_path / "set")
    prepare(root)
    with pytest.raises(UserError) as caught:
        sources.check(configure("data=folder", f"data.root={root}").image_data)
    assert str(caught.value).startswith(f"data.root={root}: ")
    assert str(caught.value).endswith(line)


def test_the_folder_of_a_split_was_given(configure: Configure, tmp_path: Path) -> None:
    root = write(tmp_path / "set")
    with pytest.raises(UserError, match=rf"did you mean data\.root={root}\?"):
        sources.check(configure("data=folder", f"data.root={root / 'train'}").image_data)


def test_a_training_and_an_evaluation(node_train: NodeTrain, tmp_path: Path) -> None:
    """The model takes sizes, channels and classes from the images."""
    write(tmp_path / "set", colour=True)
    result = node_train("data=folder", "data.root=set", "epochs=1", "hydra.run.dir=run")
    assert result.code == 0, result.err
    assert "[3, 6, 8], 12 train / 6 test" in result.out
    assert "Linear 144->20" in result.out and "Linear 20->3" in result.out
    result = node_train("task=eval", "checkpoint=run")
    assert result.code == 0, result.err
