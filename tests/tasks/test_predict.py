"""task=predict: a row for each image of a folder, whatever else lies there."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from node_cli import load
from node_cli.records.run_folder import RunFolder
from tests.commands import NodeTrain, composed
from tests.folders import rows
from tests.runs import run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run on digits, in which batches have four images."""
    (job,) = composed("data.limit=200", "epochs=1", "eval.batch_size=4", "eval.test=end")
    return run(job.config, tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Five images in two folders, and what is none."""
    folder = tmp_path / "pictures"
    (folder / "inner").mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for i in range(5):
        pixels = torch.randint(256, (30, 40, 3), dtype=torch.uint8, generator=generator)
        Image.fromarray(pixels.numpy()).save(folder / ("inner" if i % 2 else ".") / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("not looked at")
    return folder


def predict(node_train: NodeTrain, *typed: str, where: str = "predicted") -> Path:
    found = node_train("task=predict", *typed, f"hydra.run.dir={where}")
    assert found.code == 0, found.err
    return Path(where).resolve()


def test_every_image_has_its_row(node_train: NodeTrain, trained: RunFolder, pictures: Path) -> None:
    folder = RunFolder(predict(node_train, f"checkpoint={trained.path}", "images=pictures"))
    found = rows(folder.predictions)
    files = ["0.png", "2.png", "4.png", "broken.jpg", "inner/1.png", "inner/3.png"]
    assert [row["file"] for row in found] == files
    broken = found.pop(3)
    assert "cannot identify image file" in broken["note"]
    assert not any(value for key, value in broken.items() if key not in ("file", "note"))
    model = load(trained.path)
    for row in found:
        image = Image.open(pictures / row["file"])
        columns = [float(row[f"p_{name}"]) for name in model.classes]
        torch.testing.assert_close(torch.tensor(columns), model(image)[0], rtol=1e-3, atol=1e-3)
        assert row["class"] == model.classes[columns.index(max(columns))]
        assert float(row["probability"]) == max(columns)
        assert row["note"] == ""
    result = folder.read_result()
    assert (result["images"], result["unreadable"]) == (6, 1)
    assert sum(result["classes"].values()) == 5


def test_the_solver_may_be_another(
    node_train: NodeTrain, trained: RunFolder, pictures: Path
) -> None:
    """And one image is enough."""
    typed = (f"checkpoint={trained.last}", "images=pictures/0.png")
    swapped = predict(node_train, *typed, "solver=euler", "solver.n_steps=1", where="swapped")
    (row,) = rows(swapped / "predictions.csv")
    (other,) = rows(predict(node_train, *typed) / "predictions.csv")
    assert row["file"] == other["file"] == "0.png"
    assert row["probability"] != other["probability"]


def test_the_data_of_the_training_is_not_needed(
    node_train: NodeTrain, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split in ("train", "test"):
        for name in ("a", "b"):
            shutil.copytree(pictures / "inner", tmp_path / "own" / split / name)
    typed = ("data=folder", "data.root=own", "data.size=8", "data.holdout=0", "epochs=1")
    assert node_train(*typed, "hydra.run.dir=run").code == 0
    shutil.rmtree(tmp_path / "own")
    rehearsed = node_train("--dry-run", "task=predict", "checkpoint=run", "images=pictures")
    assert rehearsed.code == 0, rehearsed.err
    assert "6 of " in rehearsed.out
    found = rows(predict(node_train, "checkpoint=run", "images=pictures") / "predictions.csv")
    assert {row["class"] for row in found} <= {"a", "b", ""}


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["images=pictures"], "task=predict: needs checkpoint=<run folder or checkpoint file>"),
        (["checkpoint=RUN"], "task=predict: needs images=<folder of images>"),
        (["checkpoint=RUN", "images=nowhere"], "nowhere: no such file or folder"),
        (["checkpoint=RUN", "images=empty"], "empty: has no .png, .jpg, "),
        (["checkpoint=RUN", "images=pictures", "data=mnist"], "data=mnist: not used by task=pre"),
        (["checkpoint=RUN", "images=pictures", "eval.batch_norm=running"], "no BatchNorm inside"),
        (["checkpoint=RUN", "images=pictures", "seed=1"], "seed=1: not used by task=predict"),
        (["checkpoint=nowhere", "images=pictures"], "nowhere: no such file"),
    ],
)
def test_what_is_missing(
    node_train: NodeTrain, trained: RunFolder, pictures: Path, typed: list[str], words: str
) -> None:
    (pictures.parent / "empty").mkdir()
    typed = [word.replace("RUN", str(trained.path)) for word in typed]
    found = node_train("task=predict", *typed)
    assert found.code == 2
    assert words in found.err
    assert len(found.err.splitlines()) == 1


def test_other_tasks_do_not_read_images(node_train: NodeTrain) -> None:
    found = node_train("images=pictures")
    assert (found.code, "not used by task=train" in found.err) == (2, True)
