"""A training that starts from the weights of another one."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from node_cli.cli.resume import resumed
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.records import safetensors
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute
from node_cli.tasks.setup import Setup, preflight
from node_cli.tasks.train import Training
from tests.commands import NodeTrain, composed
from tests.folders import assert_same_run, rows, weights
from tests.runs import go_on, run, run_and_kill

Configure = Callable[..., Config]
SMALL = ("data.limit=120", "batch_size=40", "epochs=2")  # 108 images, 3 batches


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    (job,) = composed(*SMALL)
    return run(job.config, tmp_path_factory.mktemp("trained") / "run")


def write_safetensors(path: Path, tensors: dict[str, Tensor], dtype: str = "F32") -> None:
    """By the format's description, independently of what reads it."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    numbers = b""
    for name, tensor in tensors.items():
        content = tensor.contiguous().numpy().tobytes()
        places = [len(numbers), len(numbers) + len(content)]
        header[name] = {"dtype": dtype, "shape": [*tensor.shape], "data_offsets": places}
        numbers += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)


def initial(config: Config, folder: Path) -> dict[str, Tensor]:
    """The weights before the first step of a training."""
    folder.mkdir(exist_ok=True)
    return Training(config, RunFolder(folder)).setup.model.state_dict()


@pytest.mark.parametrize("kind", ["folder", "checkpoint", "safetensors"])
def test_it_starts_from_these_weights(
    configure: Configure, tmp_path: Path, trained: RunFolder, kind: str
) -> None:
    write_safetensors(tmp_path / "w.safetensors", weights(trained.best))
    named = {
        "folder": trained.path,
        "checkpoint": trained.best,
        "safetensors": tmp_path / "w.safetensors",
    }
    config = configure(f"init_from={named[kind]}", "optimizer=sgd", "solver=rk4", "seed=3")
    found, expected = initial(config, tmp_path / "run"), weights(trained.best)
    assert found.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_the_record_says_where_it_came_from(
    configure: Configure, tmp_path: Path, trained: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(*SMALL, f"init_from={trained.path}", "optimizer.lr=0.01")
    folder = run(config, tmp_path / "run")
    record = folder.read_init_from()
    assert (record["path"], record["step"]) == (str(trained.best), 6)
    assert {*record["taken"]} == weights(trained.best).keys()
    assert (record["not_taken"], record["drawn"]) == ({}, [])
    result = folder.read_result()["init_from"]
    assert result == {key: record[key] for key in ("path", "sha256", "step")}
    assert f"started from {trained.best}, after 6 steps: 10 of 10" in capsys.readouterr().out
    assert folder.read_config()["init_from"] == str(trained.path)
    assert rows(folder.steps)[0]["step"] == "1"


def test_a_training_without_has_no_record(trained: RunFolder) -> None:
    assert not trained.init_from.exists()
    assert trained.read_result()["init_from"] is None


def test_another_part_is_drawn_by_the_seed(
    configure: Configure, tmp_path: Path, trained: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """The control without an ODE takes stem and head; so does one with another f, and what happens
    to have the same name and shape."""
    expected = weights(trained.best)
    start = (*SMALL, "epochs=1", f"init_from={trained.path}")
    with pytest.raises(UserError, match=r"core\.field.*the model has no such weights.*=false"):
        preflight(configure(*start, "model.core=none"))
    found = initial(configure(*start, "init_from_strict=false", "model.core=none"), tmp_path / "0")
    assert all(torch.equal(value, expected[name]) for name, value in found.items())

    config = configure(*start, "init_from_strict=false", "model.field=mlp")
    folder = run(config, tmp_path / "1")
    fresh = Setup(configure(*SMALL, "model.field=mlp")).model.state_dict()
    fresh_shapes = {name: value.shape for name, value in fresh.items()}
    begun = initial(config, tmp_path / "2")
    record = folder.read_init_from()
    assert {"stem.1.weight", "stem.1.bias", "head.0.weight"} < {*record["taken"]}
    assert {*record["taken"]} == {n for n, w in fresh_shapes.items() if expected[n].shape == w}
    assert {*record["taken"], *record["drawn"]} == fresh.keys()
    assert {*record["taken"], *record["not_taken"]} == expected.keys()
    for name, value in begun.items():
        same_as = expected if name in record["taken"] else fresh
        assert torch.equal(value, same_as[name]), name
    out = capsys.readouterr().out
    assert "not taken: core.field" in out and "drawn by the seed: core.field" in out


def test_a_precision_of_its_own(configure: Configure, tmp_path: Path, trained: RunFolder) -> None:
    config = configure(f"init_from={trained.path}", "precision=float64")
    for name, value in initial(config, tmp_path / "run").items():
        assert torch.equal(value, weights(trained.best)[name].double())


def test_killed_and_resumed_without_the_file(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: RunFolder
) -> None:
    start = tmp_path / "start.pt"
    start.write_bytes(trained.best.read_bytes())
    config = configure(*SMALL, f"init_from={start}", "optimizer.lr=0.02")
    whole = run(config, tmp_path / "whole")
    run_and_kill(config, tmp_path / "before", 2, monkeypatch)  # before the first checkpoint
    run_and_kill(config, tmp_path / "after", 4, monkeypatch)
    go_on(RunFolder(tmp_path / "before"))
    start.unlink()
    go_on(RunFolder(tmp_path / "after"))
    for name in ("before", "after"):
        assert_same_run(whole, RunFolder(tmp_path / name))


def test_resume_needs_no_file(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: RunFolder
) -> None:
    monkeypatch.setattr("node_cli.cli.jobs.plot_run", lambda _: None)
    start = tmp_path / "start.pt"
    start.write_bytes(trained.best.read_bytes())
    assert node_train(*SMALL, "init_from=start.pt", "hydra.run.dir=run").code == 0
    start.unlink()
    assert node_train("resume=run", "epochs=3").code == 0
    again = node_train(*SMALL, "init_from=start.pt")
    assert (again.code, again.err) == (2, f"error: init_from={start}: no such file\n")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["init_from_strict=false"], "init_from_strict=false: not used with init_from=null"),
        (["init_from={}", "model.init=glorot"], "model.init=glorot: not used with init_from"),
        (["init_from={}", "task=check_gradients"], "init_from=.*: not used by task=check"),
        (["init_from={}", "task=eval", "checkpoint={}"], "init_from=.*: not used by task=eval"),
        (["init_from="], "init_from=: must be a path"),
        (["init_from={}", "model=conv"], "init_from=.*does not fit the model .stem"),
        (["init_from={}", "model=conv", "init_from_strict=false"], "does not fit the model"),
        (["init_from=nowhere"], "init_from=.*nowhere: no such file"),
    ],
)
def test_what_is_refused(trained: RunFolder, typed: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        preflight(composed(*(text.format(trained.path) for text in typed))[0].config)


@pytest.mark.parametrize("other", ["seed=1", "data.limit=60", "data.holdout=0.2"])
def test_images_that_may_have_been_trained_on(
    configure: Configure,
    tmp_path: Path,
    trained: RunFolder,
    capsys: pytest.CaptureFixture[str],
    other: str,
) -> None:
    (tmp_path / "run").mkdir()
    execute(
        configure(*SMALL, "epochs=1", f"init_from={trained.path}", other),
        RunFolder(tmp_path / "run"),
        [],
    )
    assert f"note: trained with {other.partition('=')[0]}=" in capsys.readouterr().out


def test_of_other_files_the_names_and_shapes_must_fit(tmp_path: Path, trained: RunFolder) -> None:
    start = weights(trained.best)
    write_safetensors(tmp_path / "w.safetensors", {**start, "head.0.bias": torch.zeros(3)})
    with pytest.raises(UserError, match=r"head\.0\.bias: shape \[3\], must be \[10\]"):
        preflight(composed(f"init_from={tmp_path / 'w.safetensors'}")[0].config)
    del start["head.0.bias"]
    write_safetensors(tmp_path / "w.safetensors", start)
    with pytest.raises(UserError, match=r"head\.0\.bias: missing"):
        preflight(composed(f"init_from={tmp_path / 'w.safetensors'}")[0].config)


def damaged(content: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "text": b"weights",
        "long header": struct.pack("<Q", 2**63) + content[8:],
        "cut": content[:-1],
        "no JSON": content[:8] + b"x" * 40 + content[48:],
        "list": struct.pack("<Q", 2) + b"[]",
        "offset": content.replace(b"[0, 24]", b"[8, 32]"),
        "negative": content.replace(b"[2, 3]", b"[-2,3]"),
        "large": content.replace(b"[2, 3]", b"[9, 9]"),
        "dtype": content.replace(b'"F32"', b'"F8x"'),
        "no shape": content.replace(b'"shape"', b'"shopa"'),
        "text as shape": content.replace(b"[2, 3]", b'"2,3" '),
    }


def test_a_damaged_safetensors_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, {"a": torch.arange(6.0).reshape(2, 3)})
    content = path.read_bytes()
    assert torch.equal(safetensors.load(path, "init_from")["a"], torch.arange(6.0).reshape(2, 3))
    for what, wrong in damaged(content).items():
        assert wrong != content, what
        path.write_bytes(wrong)
        with pytest.raises(UserError, match=r"init_from=.*damaged, or not a safetensors") as error:
            safetensors.load(path, "init_from")
        assert len(error.value.problems) == 1 and "\n" not in error.value.problems[0], what


def test_changes_at_a_resume_are_recorded_with_their_step(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(*SMALL, "epochs=3", "train.checkpoint_every=1")
    run_and_kill(config, tmp_path / "run", 2, monkeypatch)  # the last checkpoint is that of step 1
    folder = RunFolder(tmp_path / "run")
    assert not folder.changes.exists()

    def killed_again(**typed: object) -> None:
        found = resumed(folder, {k.replace("__", "."): v for k, v in typed.items()})
        assert found is not None
        folder.write_config(found[0].model_dump())

    killed_again(solver__max_nfe=500)  # before any further step: it has moved nothing
    go_on(folder, solver__max_nfe=None, solver__tol=1e-4, solver__max_steps=99)
    expected = [("1", "solver.max_steps", "10000", "99"), ("1", "solver.tol", "0.001", "0.0001")]
    assert sorted(tuple(row.values()) for row in rows(folder.changes)) == expected
    go_on(folder, epochs=4)
    assert tuple(rows(folder.changes)[-1].values()) == ("9", "epochs", "3", "4")
    assert len(rows(folder.changes)) == 3
