"""Fitting a trajectory: the loop of the classification, and what is learnt by it."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from node_cli.config.schema import Config
from node_cli.data.trajectories import Window, load, window
from node_cli.learn.trajectory_fit import TrajectoryFit
from node_cli.ode.failures import SolveFailed
from node_cli.ode.solver import Solver
from node_cli.records.columns import EPOCHS
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute
from tests.commands import NodeTrain
from tests.folders import assert_same_run, facts, rows, weights
from tests.runs import go_on, run, run_and_kill

Configure = Callable[..., Config]
LINEAR = ["data=spiral_linear", "model=linear_field"]
NONLINEAR = ["data=spiral_nonlinear", "model=mlp_field"]
EULER = ["solver=euler", "solver.step_size=0.05"]
QUICK = ["data.windows=4", "epochs=2", "optimizer.lr=0.01"]
A = torch.tensor([[-0.1, -1.0], [1.0, -0.1]])


def test_the_run_folder(configure: Configure, tmp_path: Path) -> None:
    folder = run(configure(*LINEAR, *EULER, *QUICK, "eval.initial=true"), tmp_path / "run")
    steps, epochs, evaluations = map(rows, (folder.steps, folder.epochs, folder.evaluations))
    assert [row["accuracy"] for row in steps] == [""] * 8
    assert tuple(epochs[0]) == EPOCHS.columns
    for epoch in epochs:
        assert {key for key, cell in epoch.items() if cell == ""} == {
            *("train_accuracy", "train_eval_accuracy", "test_accuracy"),
            *("holdout_loss", "holdout_accuracy", "drift_backward_max"),
        }
        losses = [float(row["loss"]) for row in steps if row["epoch"] == epoch["epoch"]]
        assert float(epoch["train_loss"]) == pytest.approx(sum(losses) / 4)
    assert [(row["step"], row["split"], row["images"]) for row in evaluations] == [
        (step, "test", "200") for step in ("0", "4", "8")
    ]
    assert {row["nfe_mean"] for row in evaluations} == {"796.0"}, "4 steps between two points"

    config = folder.read_config()
    data = load(configure(*LINEAR, *QUICK).data, config["seed"])
    observed = [[float(row["y0"]), float(row["y1"])] for row in rows(folder.observed)]
    assert observed == data.observed.tolist()
    learned = rows(folder.trajectories)
    assert [row["step"] for row in learned] == ["0"] * 200 + ["4"] * 200 + ["8"] * 200
    for i, evaluation in enumerate(evaluations):
        found = torch.tensor(
            [[float(row["y0"]), float(row["y1"])] for row in learned[200 * i : 200 * (i + 1)]],
            dtype=torch.float64,
        )
        error = (found - data.states).square().mean()
        assert float(error) == pytest.approx(float(evaluation["loss"]))
    result = folder.read_result()
    assert result["points"] == {"train": 200, "test": 200}
    assert result["metrics"]["test_loss"] == float(epochs[-1]["test_loss"])


def test_the_first_loss_is_worked_out_by_hand(configure: Configure, tmp_path: Path) -> None:
    """Euler from the first noisy point of the window; steps are never longer than asked for."""
    config = configure(*LINEAR, *EULER, *QUICK, "epochs=1", "precision=float64")
    folder = run(config, tmp_path / "run")
    torch.manual_seed(config.seed)
    w = TrajectoryFit.build(config).core.field.net.weight.detach().double()
    seen = window(load(config.data, config.seed), config.data, config.seed, step=0)
    y, squares = seen.states[0, 0], [torch.zeros(2)]
    for i in range(1, len(seen.times)):
        dt = float(seen.times[i] - seen.times[i - 1]) / 4
        for _ in range(4):
            y = y + dt * (w @ y)
        squares.append((y - seen.states[i, 0]).square())
    first = rows(folder.steps)[0]
    assert float(first["loss"]) == pytest.approx(float(torch.stack(squares).mean()))
    assert int(first["nfe_forward"]) == 4 * (len(seen.times) - 1)


def test_the_matrix_of_the_linear_spiral_is_found(configure: Configure, tmp_path: Path) -> None:
    options = ["data.windows=250", "epochs=2", "optimizer.lr=0.01"]
    folder = run(configure(*LINEAR, *EULER, *options), tmp_path / "run")
    (found,) = weights(folder.last).values()
    assert float((found - A).abs().max()) < 0.03
    # With the noise, of variance 1e-4, on both ends of every error.
    assert float(rows(folder.epochs)[-1]["train_loss"]) < 1e-2
    assert float(rows(folder.steps)[-1]["loss"]) < 4e-4
    assert float(rows(folder.epochs)[-1]["test_loss"]) < 1e-3


@pytest.mark.slow
def test_the_nonlinear_spiral_is_fitted(configure: Configure, tmp_path: Path) -> None:
    options = ["epochs=100", "optimizer.lr=0.01", "sensitivity=backsolve"]
    folder = run(configure(*NONLINEAR, *EULER, *options), tmp_path / "run")
    losses = [float(row["train_loss"]) for row in rows(folder.epochs)]
    assert sum(losses[-10:]) / 10 < losses[0] / 20


def test_every_method_trains_alike(configure: Configure, tmp_path: Path) -> None:
    methods = ("discrete", "checkpointed", "backsolve", "interpolating", "gauss")
    options = ["solver.tol=1e-8", "precision=float64", "data.windows=5", "epochs=1"]
    options += ["data.window_points=5", "data.points=100", "data.window_longest=2"]
    found = [
        weights(run(configure(*LINEAR, *options, f"sensitivity={m}"), tmp_path / m).last)
        for m in methods
    ]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        *(["solver=scipy", "sensitivity=backsolve"], ["solver=implicit_adams"]),
        *(["solver.engine=torchdiffeq"], ["precision=bf16", *EULER]),
        *(["model.field_call=functional"], ["solver.first_step=warm"]),
        ["model=mlp_field", "model.init=glorot"],
        pytest.param(["sensitivity.vjp=compiled", *EULER], marks=pytest.mark.slow),
    ],
)
def test_every_solver_and_option_trains(
    configure: Configure, tmp_path: Path, options: list[str]
) -> None:
    config = configure(*LINEAR, *QUICK, "data.windows=2", "data.points=80", *options)
    folder = run(config, tmp_path / "run")
    assert len(rows(folder.steps)) == 4


def test_resumed_equals_uninterrupted(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, the learned trajectories among it; killed twice, once within an epoch."""
    options = ["epochs=3", "eval.initial=true", "eval.every_steps=3", "train.checkpoint_every=3"]
    config = configure(*NONLINEAR, *EULER, *QUICK, *options)
    whole = run(config, tmp_path / "whole")
    for kill_at in (2, 8):
        path = tmp_path / f"killed{kill_at}"
        run_and_kill(config, path, kill_at, monkeypatch)
        folder = RunFolder(path)
        with folder.trajectories.open("a") as file:
            file.write("9,0.0,1.0,2.0\n9,0.1,")  # after the checkpoint, and torn
        go_on(folder)
        assert_same_run(whole, folder)
        assert folder.trajectories.read_bytes() == whole.trajectories.read_bytes()
        assert folder.observed.read_bytes() == whole.observed.read_bytes()


def test_evaluation_changes_nothing_in_training(configure: Configure, tmp_path: Path) -> None:
    warm = [*NONLINEAR, *QUICK, "solver.first_step=warm", "data.points=80"]
    alone = run(configure(*warm), tmp_path / "alone")
    watched = run(configure(*warm, "eval.every_steps=1", "eval.initial=true"), tmp_path / "watched")
    assert facts(alone.steps) == facts(watched.steps)


def test_a_failing_window_can_be_left_out(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient = TrajectoryFit.gradient

    def failing(self: TrajectoryFit, batch: Window, step: int) -> Any:
        if step == 1:
            raise SolveFailed("broken", solver=Solver("rk4", n_steps=1), advice="", t=0.0)
        return gradient(self, batch, step)

    monkeypatch.setattr(TrajectoryFit, "gradient", failing)
    options = [*LINEAR, *EULER, *QUICK, "train.on_solver_failure=skip"]
    folder = run(configure(*options), tmp_path / "run")
    assert [row["loss"] == "" for row in rows(folder.steps)] == [False, True] + [False] * 6
    losses = [float(row["loss"]) for row in rows(folder.steps)[:4] if row["loss"]]
    assert float(rows(folder.epochs)[0]["train_loss"]) == pytest.approx(sum(losses) / 3)


def test_the_score_is_minus_the_training_loss(configure: Configure, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    score = execute(configure(*LINEAR, *EULER, *QUICK), folder, [])
    assert score == -float(rows(folder.epochs)[-1]["train_loss"])


@pytest.mark.slow
def test_on_the_command_line(node_train: NodeTrain, tmp_path: Path) -> None:
    """Train, look, evaluate, check the gradients; everything has its words and its pictures."""
    fit = [*LINEAR, *EULER, *QUICK, "eval.initial=true"]
    trained = node_train(*fit, "hydra.run.dir=run")
    assert trained.code == 0
    assert "\ndata         spiral_linear, 200 points on [0, 31.45], noise 0.01" in trained.out
    assert "Training Loss: 0." in trained.out
    assert "Accuracy" not in trained.out
    assert trained.err == ""
    folder = RunFolder(tmp_path / "run")
    assert {path.name for path in folder.plots.iterdir()} == {
        *("loss.png", "nfe.png", "trajectory.png", "trajectory.gif"),
    }
    with Image.open(folder.plots / "trajectory.gif") as animation:
        assert animation.n_frames == 3

    same = node_train("task=eval", "checkpoint=run", "hydra.run.dir=same")
    assert same.code == 0
    metrics = RunFolder(tmp_path / "same").read_result()["metrics"]
    assert metrics["test_loss"] == folder.read_result()["metrics"]["test_loss"]
    assert metrics["nfe_eval_mean"] == 796
    assert f"test     200 points  Loss: {metrics['test_loss']:.4g}  NFE 796" in same.out
    further = ["solver=dopri5", "solver.tol=1e-6", "data.end=60"]
    result = node_train("task=eval", "checkpoint=run", *further, "hydra.run.dir=further")
    assert result.code == 0, result.err
    assert float(rows(tmp_path / "further" / "trajectories.csv")[-1]["t"]) == 60

    exact = ["solver=dopri5", "solver.tol=1e-8", "precision=float64", "hydra.run.dir=check"]
    checked = node_train("task=check_gradients", "checkpoint=run", *exact)
    assert checked.code == 0
    assert "Loss of the first window that a training takes, " in checked.out
    errors = [float(row["relative_error"]) for row in rows(tmp_path / "check" / "gradients.csv")]
    assert len(errors) == 9
    assert max(errors) < 1e-6

    for arguments in (["data=spiral_linear"], ["task=eval", "checkpoint=run", "model=dense"]):
        refused = node_train(*arguments)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert refused.err.startswith("error: model=dense data=spiral_linear: a trajectory is")
    refused = node_train("task=eval", "checkpoint=run", "batch_size=2")
    assert refused.err == "error: batch_size=2: not used by task=eval; choose eval.batch_size\n"


def test_a_sweep_shows_losses_where_there_is_no_accuracy(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    sweep = [*LINEAR, *QUICK, "epochs=1", "solver=euler,rk4", "hydra.sweep.dir=sweep"]
    result = node_train("-m", *sweep)
    assert result.code == 0, result.err
    text = (tmp_path / "sweep" / "summary.md").read_text()
    assert "| train loss" in text
    assert "| test loss" in text
    assert "accuracy" not in text
    with (tmp_path / "sweep" / "summary.csv").open() as file:
        assert all(float(row["test_loss"]) > 0 for row in csv.DictReader(file))
    plots = tmp_path / "sweep" / "plots"
    assert {path.name for path in plots.iterdir()} == {"loss.png", "nfe.png"}


@pytest.mark.usefixtures("graphs")
@pytest.mark.parametrize(
    "sensitivity", ["discrete", pytest.param("backsolve", marks=pytest.mark.slow)]
)
def test_compiled_solves_go_through_every_time(
    configure: Configure, tmp_path: Path, sensitivity: str
) -> None:
    """Windows with more and fewer points, and the whole trajectory to evaluate."""
    options = [*LINEAR, "solver=rk4", "solver.n_steps=1", f"sensitivity={sensitivity}"]
    options += ["precision=float64", "data.windows=3", "epochs=1"]
    eager = run(configure(*options), tmp_path / "eager")
    compiled = run(configure(*options, "compile=true"), tmp_path / "compiled")
    for name in ("loss", "grad_norm", "nfe_forward", "nfe_backward", "vjps_backward"):
        for a, b in zip(rows(eager.steps), rows(compiled.steps), strict=True):
            assert float(a[name]) == pytest.approx(float(b[name]), rel=1e-9)
