"""What a training does with its solver beyond solving: warm starts, failures, ways to call f."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.learn.classification import BatchGradient
from node_cli.ode.failures import SolveFailed
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute
from tests.commands import Result
from tests.folders import assert_same_run, facts, rows, same_weights
from tests.runs import go_on, run, run_and_kill

pytestmark = pytest.mark.usefixtures("undrawn")

Configure = Callable[..., Config]
SMALL = ["data.limit=300", "batch_size=64", "epochs=2"]  # 270 training images, 5 batches an epoch


@pytest.mark.parametrize("sensitivity", ["discrete", "backsolve"])
def test_a_warm_start_goes_on_where_it_was(
    sensitivity: str, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size that was learnt is in the checkpoint; and it saves evaluations."""
    options = ["solver.first_step=warm", f"sensitivity={sensitivity}", "train.checkpoint_every=1"]
    config = configure(*SMALL, *options)
    whole = run(config, tmp_path / "whole")
    run_and_kill(config, tmp_path / "killed", 7, monkeypatch)
    killed = RunFolder(tmp_path / "killed")
    go_on(killed)
    assert_same_run(killed, whole)
    assert [row["nfe_forward"] for row in rows(whole.steps)] == ["14"] + ["7"] * 9
    if sensitivity == "backsolve":
        assert [row["nfe_backward"] for row in rows(whole.steps)] == ["14"] + ["7"] * 9


def test_evaluation_does_not_change_a_warm_start(configure: Configure, tmp_path: Path) -> None:
    warm = [*SMALL, "solver.first_step=warm"]
    alone = run(configure(*warm), tmp_path / "alone")
    watched = run(configure(*warm, "eval.every_steps=1", "eval.initial=true"), tmp_path / "watched")
    assert facts(alone.steps) == facts(watched.steps)
    assert same_weights(alone.last, watched.last)


def test_an_evaluation_starts_from_what_training_learnt(
    node_train: Callable[..., Result], tmp_path: Path
) -> None:
    assert node_train(*SMALL, "solver.first_step=warm", "hydra.run.dir=trained").code == 0
    result = node_train("task=eval", "checkpoint=trained", "hydra.run.dir=evaluated")
    assert result.code == 0
    last = rows(tmp_path / "trained" / "evaluations.csv")[-1]
    assert rows(tmp_path / "evaluated" / "evaluations.csv")[-1]["nfe_mean"] == last["nfe_mean"]
    assert float(last["nfe_mean"]) == 7


def test_a_field_called_functionally_trains_alike(configure: Configure, tmp_path: Path) -> None:
    module = run(configure(*SMALL), tmp_path / "module")
    functional = run(configure(*SMALL, "model.field_call=functional"), tmp_path / "functional")
    assert facts(module.steps) == facts(functional.steps)
    assert same_weights(module.last, functional.last)


def test_batches_whose_solve_fails_are_left_out(configure: Configure, tmp_path: Path) -> None:
    """All of them here, up to the cap; the weights stay what they were."""
    options = ["solver.max_nfe=13", "train.on_solver_failure=skip", "train.max_skipped=3"]
    path = tmp_path / "run"
    path.mkdir()
    folder = RunFolder(path)
    execute(configure(*SMALL, *options, "train.checkpoint_every=1"), folder, [])
    status = folder.read_status()
    assert status["status"] == "failed"
    assert "13 evaluations of f were not enough" in status["reason"]
    recorded = rows(folder.steps)
    assert [row["step"] for row in recorded] == ["1", "2", "3"]
    assert {row["loss"] for row in recorded} == {""}
    checkpoint = torch.load(folder.last, weights_only=True)
    assert not checkpoint["optimizer"]["state"]  # no update was made


def test_one_failing_batch_costs_that_batch_alone(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images count for the epoch, not for its means; resuming agrees."""
    gradient, calls = BatchGradient.__call__, 0

    def failing(self: BatchGradient, *batch: torch.Tensor) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            solver = self.model.core.solver
            raise SolveFailed("broken", solver=solver, advice="", t=0.0)
        return gradient(self, *batch)

    monkeypatch.setattr(BatchGradient, "__call__", failing)
    folder = run(configure(*SMALL, "train.on_solver_failure=skip"), tmp_path / "run")
    steps, epochs = rows(folder.steps), rows(folder.epochs)
    assert [row["loss"] == "" for row in steps] == [False, True] + [False] * 8
    trained = [row for row in steps[:5] if row["loss"]]
    images = [64, 64, 64, 14]
    mean = sum(float(r["loss"]) * n for r, n in zip(trained, images, strict=True)) / sum(images)
    assert float(epochs[0]["train_loss"]) == pytest.approx(mean)
    assert float(epochs[0]["nfe_forward_mean"]) == 14


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ("solver=implicit_adams", "solver.engine=native"),
            "error: solver.engine=native: does not have solver=implicit_adams",
        ),
        (("sensitivity=gauss", "solver.engine=torchdiffeq"), "error: sensitivity=gauss: needs the"),
        (("sensitivity=checkpointed", "solver=scipy"), "error: sensitivity=checkpointed: needs"),
        (
            ("solver.engine=torchdiffeq", "solver.controller=pi"),
            "error: solver.controller=pi: not used by solver=dopri5 with solver.engine=torchdiffeq",
        ),
        (
            ("solver.engine=torchdiffeq", "solver.first_step=warm"),
            "error: solver.first_step=warm: not with solver.engine=torchdiffeq",
        ),
        (
            ("sensitivity=gauss", "sensitivity.norm=full"),
            "error: sensitivity.norm=full: not used by sensitivity=gauss",
        ),
        (
            ("sensitivity=gauss", "sensitivity.solver=implicit_adams", "solver=rk4"),
            "error: sensitivity.solver=implicit_adams: sensitivity=gauss needs dense output",
        ),
        (("train.max_skipped=3",), "error: train.max_skipped=3: not used by train.on_solver_fail"),
        (
            ("model.core=plain", "model.field_call=functional"),
            "error: model.field_call=functional: not used by model.core=plain",
        ),
        (("solver=rk4", "solver.controller=pi"), "error: solver.controller=pi: not used by sol"),
    ],
)
def test_pairs_that_cannot_work_are_refused(
    node_train: Callable[..., Result], arguments: tuple[str, ...], line: str
) -> None:
    result = node_train(*arguments)
    assert result.code == 2
    assert line in result.err
    assert not Path("outputs").exists()
