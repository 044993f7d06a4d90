"""BatchNorm inside f: an evaluation is of the network that was trained."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from node_cli.cli.resume import resumed
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.models.batch_norm import PARTS, norms_inside, statistics_per_time
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.setup import Setup, preflight
from tests.commands import composed, in_new_process
from tests.folders import assert_same_run, facts, rows, weights
from tests.packages import Installer
from tests.runs import go_on, run, run_and_kill

Configure = Callable[..., Config]
SMALL = ("data.limit=200", "batch_size=40", "data.holdout=0.2", "epochs=2", "optimizer.lr=0.02")


class TimedNormField(nn.Module):
    """What it normalises moves far over the interval, so that one average fits no time."""

    def __init__(self, state: tuple[int, ...]) -> None:
        super().__init__()
        (width,) = state
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.norm((1 + 2 * t) * self.linear(y) + 4 * t).tanh()


@pytest.fixture(autouse=True)
def _fields(install: Installer) -> None:
    field = f"{TimedNormField.__module__}:{TimedNormField.__qualname__}"
    install(files={}, entries={"fields": {"timed_norm": field}})


FIELD = "model.field=timed_norm"
SOLVERS = {
    "euler": ("solver=euler", "solver.n_steps=10"),
    "rk4": ("solver=rk4", "solver.n_steps=4"),
    "dopri5": ("solver=dopri5",),
    "two blocks": ("solver=dopri5", "model.weights_in_t=2"),
    "functional": ("solver=rk4", "solver.n_steps=4", "model.field_call=functional"),
}


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_evaluated_network_is_the_trained_one(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, solver: str
) -> None:
    """Images that the statistics were collected over have the logits that they have in training;
    with one average over all times they have others."""
    model = Setup(configure(*SMALL, FIELD, *SOLVERS[solver])).model
    images = torch.randn(64, 1, 28, 28)

    def evaluated() -> Tensor:
        with torch.no_grad(), statistics_per_time(model) as collecting:
            with collecting():
                model(images)
            return model(images)

    per_time = evaluated()
    monkeypatch.setattr("node_cli.models.batch_norm.PARTS", 1)
    one_average = evaluated()
    model.train()
    trained = model(images).detach()
    assert (per_time - trained).norm() < 0.2 * trained.norm()
    assert (per_time - trained).norm() < 0.35 * (one_average - trained).norm()


@pytest.mark.slow
def test_the_test_follows_the_training(
    configure: Configure, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What was reported: 99 % in training, 11 to 27 % in the test."""
    options = ("model=conv_bn", "epochs=12", "data.holdout=0", "data.limit=600", "eval.test=end")
    solver = ("solver=euler", "solver.n_steps=10")
    found = {}
    for name in ("per_time", "running"):
        folder = run(configure(*options, *solver, f"eval.batch_norm={name}"), tmp_path / name)
        found[name] = float(rows(folder.epochs)[-1]["test_accuracy"])
        warned = "warning: BatchNorm inside f" in capfd.readouterr().err
        assert warned == (name == "running")
    assert found["per_time"] > 0.93
    assert found["running"] < 0.7


def test_a_large_gap_is_said(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = run(configure(*SMALL, FIELD), tmp_path / "small")
    assert "warning" not in capfd.readouterr().err
    monkeypatch.setattr("node_cli.learn.norm_statistics.LARGE_GAP", -1.0)
    run(configure("task=eval", f"checkpoint={folder.path}"), tmp_path / "large")
    assert "warning: BatchNorm inside f: of 40 training images" in capfd.readouterr().err
    run(configure(*SMALL), tmp_path / "without")
    assert "warning" not in capfd.readouterr().err


def test_statistics_are_plain_means_of_each_time(configure: Configure) -> None:
    """By hand: of the batches' means and variances that f sees at one time, with one Euler step for
    each part of the interval."""
    config = configure(*SMALL, FIELD, "solver=euler", f"solver.n_steps={PARTS}")
    model = Setup(config).model
    seen: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(PARTS)]
    batches = [torch.randn(30, 1, 28, 28), torch.randn(30, 1, 28, 28)]
    (norm,) = norms_inside(model)
    calls = [0]

    def see(module: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
        if module.training:
            x = given[0]
            seen[calls[0] % PARTS].append((x.mean(0), x.var(0)))
        else:
            part = seen[calls[0] % PARTS]
            mean = torch.stack([m for m, _ in part]).mean(0)
            var = torch.stack([v for _, v in part]).mean(0)
            assert torch.allclose(norm.running_mean, mean, atol=1e-5)
            assert torch.allclose(norm.running_var, var, rtol=1e-4)
        calls[0] += 1

    norm.register_forward_hook(see)
    with torch.no_grad(), statistics_per_time(model) as collecting:
        with collecting():
            for batch in batches:
                model(batch)
        model(batches[0])
    assert calls[0] == 3 * PARTS


def test_an_evaluation_leaves_everything_as_it_was(configure: Configure, tmp_path: Path) -> None:
    """Weights, buffers, modes and random numbers: checkpoints are those of ``running``."""
    options = (*SMALL, FIELD, "eval.every_steps=1", "eval.initial=true")
    a = run(configure(*options), tmp_path / "a")
    b = run(configure(*SMALL, FIELD, "eval.batch_norm=running"), tmp_path / "b")
    for name, value in weights(a.last).items():
        assert torch.equal(value, weights(b.last)[name]), name
    assert facts(a.steps) == facts(b.steps)
    model = Setup(configure(*options)).model
    model.train()
    before: dict[str, Any] = {name: (id(x), x.clone()) for name, x in model.state_dict().items()}
    with statistics_per_time(model) as collecting, collecting(), torch.no_grad():
        model(torch.randn(30, 1, 28, 28))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(x, before[name][1]) for name, x in model.state_dict().items())
    assert {norm.momentum for norm in norms_inside(model)} == {0.1}
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_killed_and_resumed_is_bit_identical(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(*SMALL, FIELD, "train.checkpoint_every=2", "eval.every_steps=3")
    whole = run(config, tmp_path / "whole")
    for step in (3, 6):
        run_and_kill(config, tmp_path / f"killed{step}", step, monkeypatch)
        go_on(RunFolder(tmp_path / f"killed{step}"))
        assert_same_run(whole, RunFolder(tmp_path / f"killed{step}"))
    assert resumed(whole, {}) is None


def test_a_checkpoint_evaluates_to_what_its_epoch_recorded(
    configure: Configure, tmp_path: Path
) -> None:
    trained = run(configure(*SMALL, FIELD), tmp_path / "run")
    found = run(configure("task=eval", f"checkpoint={trained.last}"), tmp_path / "eval")
    expected = [row for row in facts(trained.evaluations) if row["step"] == "8"]
    assert facts(found.evaluations) == expected


def test_a_batch_that_cannot_be_solved_is_left_out(configure: Configure, tmp_path: Path) -> None:
    """Of the statistics too, where failed solves are skipped."""
    skip = ("train.on_solver_failure=skip", "train.max_skipped=100", "solver.max_steps=1")
    folder = run(configure(*SMALL, FIELD, *skip), tmp_path / "run")
    assert float(rows(folder.epochs)[-1]["test_accuracy"]) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("what", ["compile=true", "sensitivity=backsolve sensitivity.vjp=compiled"])
def test_f_compiled_gives_the_same(tmp_path: Path, what: str) -> None:
    """A compiled f does not call a hook that is newer than it is."""
    options = ("data.limit=200", "epochs=3", "batch_size=40", "model=conv_bn", "solver=euler")
    found = []
    for name, more in (("plain", ()), ("compiled", what.split())):
        done = in_new_process(*options, *more, f"hydra.run.dir={name}", cwd=tmp_path)
        assert done.code == 0, done.err
        found.append(float(rows(tmp_path / name / "epochs.csv")[-1]["test_accuracy"]))
    assert found[0] > 0.5, "with running statistics about 0.1"
    assert found[1] == pytest.approx(found[0], abs=0.05)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["eval.batch_norm=running"], "eval.batch_norm=running: not used, f has no BatchNorm"),
        (
            ["model=conv_bn", "model.core=plain", "eval.batch_norm=running"],
            "not used by model.core",
        ),
        (
            ["model=conv_bn", "eval.batch_norm=batch"],
            "batch_norm=batch: choose from per_time, running",
        ),
        (
            ["model=conv_bn", "regularize=[taylor]"],
            r"regularize=\[taylor\]: not with BatchNorm inside f \(model.field=conv_bn",
        ),
    ],
)
def test_what_is_refused(typed: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        preflight(composed(*typed)[0].config)


def test_published_systems_stay_as_published(configure: Configure) -> None:
    for name in ("surtsukov_mnist", "continuousnet_euler", "continuousnet_rk4", "aca_node18"):
        assert configure(f"experiment={name}").eval.batch_norm == "running"
    control = configure("experiment=surtsukov_mnist", "model.core=plain")
    assert control.eval.batch_norm is None
