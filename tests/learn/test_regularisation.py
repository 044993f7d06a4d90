"""Regularisers in a training: what is recorded, resumed and refused."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.learn.classification import Classification
from node_cli.machine import device
from node_cli.records.columns import EPOCHS, STEPS
from node_cli.records.run_folder import RunFolder
from tests.commands import composed
from tests.folders import assert_same_run, rows
from tests.runs import go_on, run, run_and_kill

Configure = Callable[..., Config]

SHORT = ("data.limit=80", "batch_size=16", "epochs=2", "device=cpu", "data.drop_last=true")


def test_without_regularisers_the_columns_are_as_they_were(
    configure: Configure, tmp_path: Path
) -> None:
    folder = run(configure(*SHORT, "epochs=1"), tmp_path / "run")
    assert tuple(rows(folder.steps)[0]) == STEPS.columns
    assert tuple(rows(folder.epochs)[0]) == EPOCHS.columns


def test_loss_penalty_and_sum_are_columns(configure: Configure, tmp_path: Path) -> None:
    chosen = "regularize=[error,kinetic,steer]"
    weights = ("regularize.error.weight=8", "regularize.error.final_weight=2")
    folder = run(configure(*SHORT, chosen, *weights), tmp_path / "run")
    steps = rows(folder.steps)
    assert [*steps[0]] == [
        *STEPS.columns,
        *("penalty", "objective", "nfe_penalty", "penalty_error", "penalty_kinetic"),
    ]
    for index, row in enumerate(steps):
        number = {name: float(cell) for name, cell in row.items() if cell}
        weight = 8 * (2 / 8) ** (index / len(steps))
        penalty = weight * number["penalty_error"] + 0.01 * number["penalty_kinetic"]
        assert number["penalty"] == pytest.approx(penalty)
        assert number["objective"] == pytest.approx(number["loss"] + number["penalty"])
        assert number["penalty_error"] > 0 and number["penalty_kinetic"] > 0
    last = rows(folder.epochs)[-1]
    of_epoch = [float(row["penalty"]) for row in steps if row["epoch"] == "2"]
    assert float(last["train_penalty"]) == pytest.approx(sum(of_epoch) / len(of_epoch))
    total = float(last["train_loss"]) + float(last["train_penalty"])
    assert float(last["train_objective"]) == pytest.approx(total)


def test_the_gradient_is_that_of_the_objective(configure: Configure) -> None:
    """Of two trainings that differ in the weight of a penalty alone, by the penalty's gradient."""
    gradients = {}
    for weight in (1.0, 3.0, 5.0):
        config = configure(
            *SHORT,
            *("precision=float64", "regularize=[error]", f"regularize.error.weight={weight}"),
            "regularize.error.final_weight=null",
        )
        backend = device.choose(config)
        torch.manual_seed(0)
        model = Classification.build(config).double()
        objective = Classification(config, model, backend)
        objective.gradient(next(objective.batches(0, 0)), 0)
        gradients[weight] = torch.cat(
            [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        )
    step = gradients[3.0] - gradients[1.0]
    assert float(step.norm()) > 0
    torch.testing.assert_close(gradients[5.0] - gradients[3.0], step, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("model", ["dense", "linear_field"])
def test_resumed_equals_uninterrupted(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Bit for bit, with everything that draws at random, and in the middle of an epoch."""
    if model == "dense":
        names = "local,local_biased,jacobian,steer,error"
        config = configure(*SHORT, f"regularize=[{names}]", "train.checkpoint_every=3")
    else:
        config = configure(
            *("data=spiral_linear", "model=linear_field", "data.windows=6", "epochs=2"),
            *("regularize=[local,jacobian]", "train.checkpoint_every=3", "device=cpu"),
        )
    whole = run(config, tmp_path / "whole")
    run_and_kill(config, tmp_path / "resumed", 4, monkeypatch)
    resumed = RunFolder(tmp_path / "resumed")
    go_on(resumed)
    assert_same_run(whole, resumed)


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        (
            ["regularize=[error]", "sensitivity=backsolve"],
            "regularize=error: sensitivity=backsolve does not differentiate the solver's steps; "
            "choose from discrete, checkpointed",
        ),
        (
            ["regularize=[error]", "solver=rk4"],
            "regularize=error: solver=rk4 has no estimate of the error; choose from",
        ),
        (
            ["regularize=[stiffness]", "solver=bosh3"],
            "regularize=stiffness: solver=bosh3 has no estimate of the stiffness; choose from "
            "dopri5, tsit5, dopri8",
        ),
        (
            ["regularize=[local_biased]", "solver.engine=torchdiffeq"],
            "regularize=local_biased: solver.engine=torchdiffeq does not show its steps; take "
            "engine=native",
        ),
        (
            ["regularize=[error]", "solver.jump_t=[0.5]"],
            "regularize=error: not with solver.jump_t=[0.5], which cuts a solve into several",
        ),
        (
            ["regularize=[kinetic]", "compile=true"],
            "regularize=kinetic: not with compile=true, which works with steer and decay alone",
        ),
        (
            ["regularize=[taylor]", "sensitivity.vjp=compiled"],
            "regularize=taylor: needs a second derivative of f, which sensitivity.vjp=compiled "
            "does not have",
        ),
        (
            ["regularize=[steer]", "data=spiral_linear", "model=linear_field"],
            "regularize=steer: not with a trajectory, which has data at every time",
        ),
        (
            ["regularize=[steer]", "regularize.steer.half_width=1"],
            "regularize=steer: half_width=1 must be below 1, the length of the interval",
        ),
        (
            ["regularize=[steer]", "model.core=none"],
            "regularize=[steer]: not used, model.core=none",
        ),
        (
            ["regularize=[steer]", "regularize.error.weight=1"],
            "regularize.error.weight=1: not used, error is not among regularize=[steer]",
        ),
        (["regularize=[eror]"], "regularize=eror: choose from"),
        (["regularize.error=3"], "regularize.error=3: no such key"),
        (["task=check_gradients", "regularize=[error]"], "regularize=[error]: not used by task="),
    ],
)
def test_what_does_not_work_is_refused_in_one_line(
    configure: Configure, typed: list[str], problem: str
) -> None:
    with pytest.raises(UserError) as error:
        configure(*typed)
    assert any(line.startswith(problem) for line in error.value.problems), error.value.problems


def test_options_of_a_file_for_a_regulariser_that_is_not_chosen_are_dropped(
    tmp_path: Path,
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nregularize:\n  error: {weight: 7.0}\n"
    )
    (job,) = composed("experiment=mine", config_dir=tmp_path)
    assert job.config.regularize == {}
    (job,) = composed("experiment=mine", "regularize=[error]", config_dir=tmp_path)
    assert job.config.model_dump()["regularize"]["error"]["weight"] == 7


def test_steer_and_decay_compile(configure: Configure) -> None:
    assert configure("regularize=[steer,decay]", "compile=true").compile
