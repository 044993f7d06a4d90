"""Checkpoints that are well-formed and wrong are refused in one line, before anything is loaded.

Some of them crashed a kernel, made a solve endless, or changed the run in silence.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.errors import UserError
from node_cli.learn.optimizers import optimizer
from node_cli.records import checkpoints
from node_cli.records.checkpoint_schema import DoesNotFit, load_optimizer, state_after_a_step
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.train import Training
from tests.commands import composed

Configure = Callable[..., Config]
Checkpoint = dict[str, Any]


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Training:
    """A run that was stopped in its second epoch."""
    typed = ["data.limit=200", "batch_size=32", "epochs=3", "data.holdout=0.2"]
    typed += ["solver.first_step=warm"]
    (job,) = composed(*typed)
    path = tmp_path_factory.mktemp("run")
    training = Training(job.config, RunFolder(path))

    def stop(self: object, progress: object, row: dict[str, int]) -> None:
        if row["step"] == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("node_cli.tasks.terminal.Terminal.step", stop)
        with pytest.raises(KeyboardInterrupt):
            training.run(Display())
    return training


def state(c: Checkpoint, number: int = 0) -> dict[str, Any]:
    return c["optimizer"]["state"][number]


def group(c: Checkpoint) -> dict[str, Any]:
    return c["optimizer"]["param_groups"][0]


def swap(values: dict[Any, Any], a: object, b: object) -> None:
    values[a], values[b] = values[b], values[a]


def put(values: Any, key: object, value: object) -> None:
    values[key] = value


def first(c: Checkpoint) -> str:
    return next(iter(c["model"]))


WRONG: list[tuple[Callable[[Checkpoint], object], str]] = [
    # the order and shapes of the optimizer's state: a segmentation fault
    (lambda c: swap(c["optimizer"]["state"], 0, 1), r"optimizer.state.0.exp_avg: shape \["),
    (lambda c: put(state(c), "exp_avg", torch.zeros(3)), r"exp_avg: shape \[3\], must be"),
    (lambda c: put(state(c), "exp_avg", state(c)["exp_avg"].double()), "float64, must be float32"),
    (lambda c: put(state(c), "exp_avg", state(c)["exp_avg"].to_sparse()), "exp_avg: no tensor"),
    (lambda c: put(state(c), "exp_avg", state(c)["exp_avg"].to("meta")), "exp_avg: no tensor"),
    (lambda c: put(state(c), "exp_avg", None), "exp_avg: no tensor"),
    (lambda c: state(c)["exp_avg"].fill_(torch.nan), "exp_avg: not finite"),
    (lambda c: state(c)["exp_avg_sq"].neg_(), "exp_avg_sq: negative"),
    (lambda c: put(state(c), "step", torch.tensor(5.0)), "step: 5, after 6 steps"),
    (lambda c: state(c).pop("exp_avg_sq"), "must have exp_avg, exp_avg_sq, step"),
    (lambda c: c["optimizer"]["state"].pop(1), "optimizer.state: of"),
    (lambda c: c["optimizer"]["state"].clear(), "optimizer.state: of 0 parameters"),
    (lambda c: put(c["optimizer"], "state", []), "optimizer.state: must be a dict"),
    (lambda c: put(c["optimizer"]["state"], 0, 5), "optimizer.state.0: must be a dict"),
    # its settings
    (lambda c: put(group(c), "eps", 1.0), "param_groups.0.eps: 1.0, must be 1e-08"),
    (lambda c: put(group(c), "betas", [0.5, 0.9]), "param_groups.0.betas: "),
    (lambda c: put(group(c), "lr", torch.inf), "param_groups.0.lr: inf"),
    (lambda c: put(group(c), "lr", "1"), "param_groups.0.lr: '1'"),
    (lambda c: put(group(c), "params", [1, 0]), "param_groups.0.params"),
    (lambda c: put(group(c), "maximize", True), "param_groups.0.maximize: True"),
    (lambda c: put(c["optimizer"], "param_groups", [5]), "param_groups.0: must be a dict"),
    (lambda c: c["optimizer"].pop("param_groups"), "param_groups: must be a list"),
    # sizes of first steps: a negative one never ends
    (lambda c: put(c["first_steps"], 0, -0.1), "first_steps.0: -0.1, must be positive"),
    (lambda c: put(c["first_steps"], 0, torch.nan), "first_steps.0: nan"),
    (lambda c: put(c["first_steps"], 0, "x"), "first_steps.0: 'x'"),
    (lambda c: c["first_steps"].append(0.1), "first_steps: 2, must be 1"),
    (lambda c: c.pop("first_steps"), "first_steps: 0, must be 1"),
    (lambda c: c.update(first_steps=0.1), "first_steps: must be a list"),
    # weights
    (lambda c: c["model"].pop(first(c)), "model.*missing"),
    (lambda c: put(c["model"], "x", torch.zeros(1)), "model.x: the model has no such weights"),
    (
        lambda c: put(c["model"], first(c), c["model"][first(c)].double()),
        "float64, must be float32",
    ),
    (lambda c: put(c["model"], first(c), 1.0), "no tensor"),
    (lambda c: put(c, "model", [1]), "model: must be a dict"),
    # random numbers and counters
    (lambda c: put(c["rng"], "cpu", torch.zeros(3, dtype=torch.uint8)), r"rng.cpu: shape \[3\]"),
    (lambda c: c["rng"].pop("cpu"), "rng.cpu: no tensor"),
    (lambda c: put(c["rng"], "cuda", 3), "rng.cuda: must be a list"),
    (lambda c: put(c["progress"], "best_score", torch.nan), "best_score: nan, must be finite"),
    (lambda c: put(c["progress"], "best_score", 7.0), "best_score: 7.0, must be at most 1"),
    (lambda c: put(c["progress"], "best_score", None), "best_epoch: 1, with"),
    (lambda c: put(c["progress"], "best_epoch", 9), "best_epoch: 9"),
    (lambda c: put(c["progress"]["sums"], "seconds", torch.inf), "sums.seconds: inf"),
    (lambda c: put(c["progress"]["sums"], "loss", torch.nan), "sums.loss: nan"),
    (lambda c: put(c["progress"]["sums"], "correct", -3), "sums.correct: -3"),
    (lambda c: put(c["progress"]["sums"], "skipped", 3), "3 of 1 batches skipped"),
    (lambda c: put(c["progress"], "sums", 5), "progress"),
    (lambda c: put(c["progress"], "step", 10**400), "step"),
    (lambda c: put(c["progress"], "epoch", -1), "progress"),
    # what the model takes
    (lambda c: put(c, "inputs", 3), "inputs: needs"),
    (lambda c: c["inputs"].pop("std"), "inputs: needs"),
    (lambda c: put(c["inputs"], "shape", [28, 28]), r"inputs.shape: \[28, 28\], must be"),
    (lambda c: put(c["inputs"], "shape", [1, -28, 28]), "inputs.shape"),
    (lambda c: put(c["inputs"], "mean", [0.1, 0.2]), "inputs.mean: .* for each channel"),
    (lambda c: put(c["inputs"], "mean", None), "inputs.std: .* for each channel"),
    (lambda c: put(c["inputs"], "mean", [torch.nan]), "inputs.mean: .* must be finite"),
    (lambda c: put(c["inputs"], "std", [0.0]), "inputs.std: .* std > 0"),
    (lambda c: put(c["inputs"], "names", []), "inputs.names"),
    (lambda c: put(c["inputs"], "names", [1]), "inputs.names"),
]


@pytest.mark.parametrize(("damage", "message"), WRONG)
def test_a_wrong_checkpoint_is_refused(
    training: Training, tmp_path: Path, damage: Callable[[Checkpoint], object], message: str
) -> None:
    checkpoint = torch.load(training.folder.last, weights_only=True)
    damage(checkpoint)
    torch.save(checkpoint, tmp_path / "last.pt")
    weights = [w.clone() for w in training.setup.model.state_dict().values()]
    with pytest.raises((UserError, DoesNotFit), match=message) as caught:
        training.trainer.state.load_state_dict(checkpoints.load(tmp_path / "last.pt"))
    assert "\n" not in str(caught.value)
    after = training.setup.model.state_dict().values()
    assert all(map(torch.equal, weights, after)), "nothing is loaded of a wrong one"


def test_what_a_resume_says(training: Training) -> None:
    whole = training.folder.last.read_bytes()
    checkpoint = torch.load(training.folder.last, weights_only=True)
    swap(checkpoint["optimizer"]["state"], 0, 1)
    torch.save(checkpoint, training.folder.last)
    try:
        with pytest.raises(UserError, match=r"last.pt: does not fit \(optimizer.state.0.exp_avg"):
            Training(training.config, training.folder)
    finally:
        training.folder.last.write_bytes(whole)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "sgd optimizer.momentum=0.9"])
def test_an_optimizers_state_survives(configure: Configure, name: str) -> None:
    """Checked state is loaded into tensors of the optimizer's own making, value for value."""
    config = configure(*f"optimizer={name}".split()).optimizer
    weights = [torch.randn(3, 2, requires_grad=True), torch.randn(4, requires_grad=True)]
    made = optimizer(config, weights)
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    made.step()
    saved = {"optimizer": made.state_dict()}
    other = optimizer(config, weights)
    load_optimizer(saved, other)
    for number, values in made.state_dict()["state"].items():
        assert values.keys() == state_after_a_step(made)[number].keys()
        for key, value in values.items():
            loaded = other.state_dict()["state"][number][key]
            assert torch.equal(loaded, value) if isinstance(value, torch.Tensor) else True
