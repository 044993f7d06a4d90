"""The loop: what it records, what changes it and what does not, how it ends."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from node_cli.config.schema import Config
from node_cli.records.columns import EPOCHS, EVALUATIONS, STEPS
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute
from tests.folders import facts, rows, same_weights, weights
from tests.packages import Installer

Configure = Callable[..., Config]
SMALL = ["data.limit=300", "batch_size=64", "epochs=2"]  # 270 training images, 5 batches an epoch


@pytest.fixture
def train(configure: Configure, tmp_path: Path) -> Callable[..., RunFolder]:
    def train(*overrides: str, name: str = "run") -> RunFolder:
        folder = RunFolder(tmp_path / name)
        folder.path.mkdir(exist_ok=True)
        execute(configure(*SMALL, *overrides), folder, overrides)
        return folder

    return train


Train = Callable[..., RunFolder]


def test_the_run_folder_is_as_documented(train: Train) -> None:
    folder = train("eval.initial=true", "eval.train=1", "eval.every_steps=2")
    steps, epochs, evaluations = map(rows, (folder.steps, folder.epochs, folder.evaluations))
    assert tuple(steps[0]) == STEPS.columns
    assert tuple(epochs[0]) == EPOCHS.columns
    assert tuple(evaluations[0]) == EVALUATIONS.columns
    assert [row["step"] for row in steps] == [str(i) for i in range(1, 11)]
    assert [row["epoch"] for row in steps] == ["1"] * 5 + ["2"] * 5
    assert [row["step"] for row in epochs] == ["5", "10"]
    # Steps 0, 2, 4, the epoch's end at 5, 6, 8, and 10, evaluated once though two things ask.
    assert [row["step"] for row in evaluations[::3]] == ["0", "2", "4", "5", "6", "8", "10"]
    assert {row["split"] for row in evaluations} == {"holdout", "test", "train"}
    assert evaluations[0]["epoch"] == "0"
    result = json.loads(folder.result.read_text())
    assert result["parameters"] == 16_450
    assert result["metrics"]["test_accuracy"] == float(epochs[-1]["test_accuracy"])
    assert result["engine"] == "native"
    assert result["environment"]["packages"]["torch"]
    assert folder.read_status()["status"] == "done"
    checkpoint = torch.load(folder.last, weights_only=True)
    assert checkpoint["config"] == folder.read_config()
    assert checkpoint["progress"]["step"] == 10
    assert not list(folder.path.rglob("*.tmp"))


def test_evaluations_begin_where_they_are_asked_to_and_test_may_wait(train: Train) -> None:
    folder = train("eval.every_steps=3", "eval.from_step=1", "eval.test=end")
    found = [(row["step"], row["split"]) for row in rows(folder.evaluations)]
    holdout = ["1", "4", "5", "7", "10"]
    assert [step for step, split in found if split == "holdout"] == holdout
    assert [step for step, split in found if split == "test"] == ["10"]
    assert [row["test_accuracy"] != "" for row in rows(folder.epochs)] == [False, True]


def test_epochs_summarise_their_steps(train: Train) -> None:
    folder = train("solver.tol=1e-4", "sensitivity=backsolve")
    images = np.array([64, 64, 64, 64, 14])
    for epoch in rows(folder.epochs):
        steps = [row for row in rows(folder.steps) if row["epoch"] == epoch["epoch"]]
        column = {name: np.array([float(row[name]) for row in steps]) for name in STEPS.columns}
        for name in ("loss", "accuracy"):
            weighted = np.average(column[name], weights=images)
            assert float(epoch[f"train_{name}"]) == pytest.approx(weighted)
        for name in ("nfe_forward", "nfe_backward"):
            assert float(epoch[f"{name}_mean"]) == pytest.approx(column[name].mean())
            assert int(epoch[f"{name}_max"]) == column[name].max()
        assert float(epoch["vjps_backward_mean"]) == pytest.approx(column["vjps_backward"].mean())
        rejected = column["rejected_forward"].mean() + column["rejected_backward"].mean()
        assert float(epoch["rejected_mean"]) == pytest.approx(rejected)


def test_nfe_of_every_step(train: Train) -> None:
    """rk4 with n steps: 4n forward, 4n VJPs; the adjoint evaluates f again."""
    for row in rows(train("solver=rk4", "solver.n_steps=3", name="a").steps):
        counts = [row[c] for c in ("nfe_forward", "nfe_backward", "vjps_backward")]
        assert counts == ["12", "0", "12"]
    folder = train("solver=rk4", "solver.n_steps=3", "sensitivity=backsolve", name="b")
    for row in rows(folder.steps):
        counts = [row[c] for c in ("nfe_forward", "nfe_backward", "vjps_backward")]
        assert counts == ["12", "12", "12"]
        assert (row["accepted_forward"], row["accepted_backward"]) == ("3", "3")
    assert {row["nfe_mean"] for row in rows(folder.evaluations)} == {"12.0"}


def test_cores_without_an_ode_leave_nfe_empty(train: Train) -> None:
    folder = train("model.core=plain")
    assert {row["nfe_forward"] for row in rows(folder.steps)} == {""}
    assert {row["nfe_forward_mean"] for row in rows(folder.epochs)} == {""}
    assert {row["nfe_mean"] for row in rows(folder.evaluations)} == {""}
    assert folder.read_result()["solver"] is None


def test_evaluation_changes_nothing_in_training(train: Train, install: Installer) -> None:
    """Though training draws from torch's global generator, and differs from evaluation."""
    install(files={}, entries={"stems": {"dropout": "tests.runs:dropout_stem"}})
    plain = train("model.stem=dropout", "epochs=1", name="plain")
    watched = train(
        "model.stem=dropout",
        "epochs=1",
        "eval.initial=true",
        "eval.every_steps=1",
        "eval.train=1",
        "eval.batch_size=200",
        name="watched",
    )
    assert len(rows(watched.evaluations)) == 6 * 3
    assert facts(plain.steps) == facts(watched.steps)
    assert same_weights(plain.last, watched.last)


@pytest.mark.parametrize("option", ["data.augment=[crop]", "optimizer=sgd", "precision=float64"])
def test_a_run_is_a_function_of_its_configuration(train: Train, option: str) -> None:
    first, again = train(option, name="first"), train(option, name="again")
    other = train(option, "seed=1", name="other")
    assert facts(first.steps) == facts(again.steps)
    assert same_weights(first.last, again.last)
    assert facts(first.steps) != facts(other.steps)


def test_precisions_agree_on_the_first_loss(train: Train) -> None:
    losses = {}
    for precision in ("float32", "float64", "bf16"):
        folder = train(f"precision={precision}", "epochs=1", name=precision)
        losses[precision] = float(rows(folder.steps)[0]["loss"])
        dtype = torch.float64 if precision == "float64" else torch.float32
        assert {w.dtype for w in weights(folder.last).values()} == {dtype}
    assert losses["float32"] == pytest.approx(losses["float64"], rel=1e-5)
    assert losses["bf16"] == pytest.approx(losses["float64"], rel=2e-2)
    assert losses["bf16"] != losses["float32"]


def test_gradient_clipping_bounds_the_step(train: Train) -> None:
    """With plain SGD a step has the length lr times the clipped norm; what is recorded is the norm
    before clipping."""
    options = ["optimizer=sgd", "optimizer.momentum=0", "optimizer.lr=0.5", "epochs=1"]
    options += ["batch_size=300", "optimizer.grad_clip=0.01"]
    folder = train(*options, "data.holdout=0")
    (step,) = rows(folder.steps)
    assert float(step["grad_norm"]) > 0.1
    start = train("epochs=1", "optimizer.lr=1e-30", "data.holdout=0", name="start")
    moved = [(w - weights(start.last)[name]).norm() for name, w in weights(folder.last).items()]
    assert math.hypot(*moved) == pytest.approx(0.5 * 0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], [0.1, 0.1, 0.1, 0.1]),
        (["schedule=step", "schedule.milestones=[1,3]"], [0.1, 0.01, 0.01, 0.001]),
        (["schedule=cosine"], [0.1 * (1 + math.cos(math.pi * e / 4)) / 2 for e in range(4)]),
        (
            ["schedule=cosine", "schedule.per=step", "epochs=2", "batch_size=135"],
            [0.1 * (1 + math.cos(math.pi * s / 4)) / 2 for s in range(4)],
        ),
        (
            ["schedule=step", "schedule.milestones=[1]", "schedule.warmup_steps=3"],
            [0.1 / 3, 0.01 * 2 / 3, 0.01, 0.01],
        ),
    ],
)
def test_learning_rate_schedules(train: Train, overrides: list[str], expected: list[float]) -> None:
    folder = train("epochs=4", "optimizer=sgd", "batch_size=270", *overrides)
    assert [float(row["lr"]) for row in rows(folder.steps)] == pytest.approx(expected)


def test_partial_batches_are_kept_unless_asked_otherwise(train: Train) -> None:
    assert len(rows(train("epochs=1", name="kept").steps)) == 5
    assert len(rows(train("epochs=1", "data.drop_last=true", name="dropped").steps)) == 4


def test_every_epoch_sees_every_image_once_in_a_new_order(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node_cli.data.batches import Preprocess

    seen: list[list[int]] = []
    call = Preprocess.__call__

    def spy(self: Preprocess, pixels: torch.Tensor) -> torch.Tensor:
        seen.append([hash(image.numpy().tobytes()) for image in pixels])
        return call(self, pixels)

    monkeypatch.setattr(Preprocess, "__call__", spy)
    train("data.holdout=0.01", "eval.batch_size=1000")
    # 5 batches, then holdout and test.
    epochs = [[image for batch in seen[i : i + 5] for image in batch] for i in (0, 7)]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1]


def test_best_is_chosen_on_the_holdout_and_equals_last_without_one(train: Train) -> None:
    folder = train("epochs=6", "optimizer.lr=0.03")
    scores = [float(row["holdout_accuracy"]) for row in rows(folder.epochs)]
    best = torch.load(folder.best, weights_only=True)
    assert best["progress"]["epoch"] == 1 + scores.index(max(scores))
    assert folder.read_result()["best"]["holdout_accuracy"] == max(scores)
    folder = train("data.holdout=0", name="no_holdout")
    best = torch.load(folder.best, weights_only=True)
    assert best["progress"]["step"] == 10
    assert all(torch.equal(w, best["model"][name]) for name, w in weights(folder.last).items())


def test_the_score_is_the_holdout_accuracy_else_the_training_accuracy(
    configure: Configure, tmp_path: Path
) -> None:
    for holdout, column in (("0.1", "holdout_accuracy"), ("0", "train_accuracy")):
        folder = RunFolder(tmp_path / column)
        folder.path.mkdir()
        score = execute(configure(*SMALL, f"data.holdout={holdout}"), folder, [])
        assert score == float(rows(folder.epochs)[-1][column])


@pytest.mark.parametrize(
    ("overrides", "status", "exit_code", "reason"),
    [
        (["model=mlp", "optimizer=sgd", "optimizer.lr=1e9"], "diverged", 1, "lower optimizer.lr"),
        (["solver.max_steps=1", "solver.tol=1e-6"], "failed", 1, "1 steps were not enough"),
        (["batch_size=301", "data.drop_last=true"], "failed", 2, "batch_size=301"),
    ],
)
def test_how_a_run_can_fail(
    train: Train,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    status: str,
    exit_code: int,
    reason: str,
) -> None:
    folder = train(*overrides)
    state = folder.read_status()
    assert (state["status"], state["exit_code"]) == (status, exit_code)
    assert reason in state["reason"]
    shown = capsys.readouterr().err
    assert shown == f"{status}: {state['reason']}\n", "one line, no traceback"
    assert not folder.result.exists()


def test_an_error_of_our_own_is_recorded_with_its_traceback(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("node_cli.learn.classification.cross_entropy", broken)
    state = train().read_status()
    assert (state["status"], state["reason"]) == ("failed", "RuntimeError: broken")
    assert "Traceback" in capsys.readouterr().err
