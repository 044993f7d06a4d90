"""Recipes of training: what each does to a step, and that a resumed run keeps to it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import log_softmax, one_hot
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from node_cli import load
from node_cli.config.schema import Config
from node_cli.data.augmentations import OPTIONS
from node_cli.errors import UserError
from node_cli.learn.classification import Classification, Loss
from node_cli.records import checkpoints
from node_cli.records.early_stop import reason_to_stop
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.initial_weights import InitialWeights
from node_cli.tasks.setup import load_for_evaluation
from tests.folders import assert_same_run, facts, rows, same_weights, weights
from tests.runs import go_on, run, run_and_kill

Configure = Callable[..., Config]
SMALL = ["data.limit=60", "data.holdout=0.1", "batch_size=16", "epochs=2"]

RECIPES = [
    "train.label_smoothing=0.1 optimizer=sgd optimizer.nesterov=true",
    "train.accumulate=4 solver.first_step=warm regularize=[steer,kinetic]",
    "data.augment=[crop,flip,randaugment,erasing,mixup,cutmix] train.accumulate=2",
    "train.ema=0.9 eval.train=1",
    pytest.param("train.ema=0.9 model=conv_bn", marks=pytest.mark.slow),
    "schedule=cosine schedule.per=step schedule.warmup_steps=6",
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_resumed_equals_uninterrupted(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    config = configure(*SMALL, "train.checkpoint_every=1", *recipe.split())
    whole = run(config, tmp_path / "whole")
    run_and_kill(config, tmp_path / "killed", 3, monkeypatch)
    killed = RunFolder(tmp_path / "killed")
    go_on(killed)
    assert_same_run(whole, killed)
    averages = [torch.load(f.last, weights_only=True).get("ema") for f in (whole, killed)]
    if averages[0]:
        assert averages[0]["updates"] == averages[1]["updates"] == 8
        for name, w in averages[0]["weights"].items():
            assert torch.equal(w, averages[1]["weights"][name])


def test_label_smoothing(configure: Configure, tmp_path: Path) -> None:
    """The loss of a step is the cross-entropy with (1 - a) of the label and a of all classes; that
    of an evaluation is without."""
    features, labels = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 3, 1, 1, 2])
    loss, correct = Loss(nn.Identity(), torch.float64, 0.2)(features, labels)
    target = 0.8 * one_hot(labels, 4) + 0.2 / 4
    assert loss.item() == pytest.approx(-(target * log_softmax(features, 1)).sum(1).mean().item())
    assert correct == (features.argmax(1) == labels).sum()

    still = [*SMALL, "epochs=1", "optimizer.lr=1e-30"]
    plain = run(configure(*still), tmp_path / "plain")
    smooth = run(configure(*still, "train.label_smoothing=0.5"), tmp_path / "smooth")
    assert rows(plain.evaluations) == rows(smooth.evaluations)
    assert rows(plain.steps)[0]["loss"] != rows(smooth.steps)[0]["loss"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ["optimizer=sgd", "optimizer.nesterov=true", "optimizer.momentum=0"],
            "optimizer.nesterov=true: needs momentum, but optimizer.momentum=0; give",
        ),
        (["optimizer.nesterov=true"], "optimizer.nesterov=true: not used by optimizer=adam"),
        (["schedule.per=step"], "schedule.per=step: not used by schedule=constant"),
        (
            ["data=spiral_linear", "model=linear_field", "train.label_smoothing=0.1"],
            "train.label_smoothing=0.1: not with data=spiral_linear, which has no labels",
        ),
        (["train.accumulate=3"], "train.accumulate=3: must divide batch_size=128"),
        (["data.augment=[crop,shear]"], "data.augment=.*crop, flip, randaugment, erasing, mixup"),
        (["data.augment=[crop,crop]"], r"data.augment=\[crop,crop\]: names one twice"),
        (
            ["data.augment=[crop]", "data.mixup_alpha=1"],
            r"data.mixup_alpha=1: not used by data.augment=\[crop\]; it takes crop_padding",
        ),
        (["data.augment=[mixup]", "data.mixup_alpha=null"], "data.mixup_alpha: .* needs it"),
        (["train.label_smoothing=1"], "train.label_smoothing=1: must be less than 1"),
    ],
)
def test_refused(configure: Configure, options: list[str], line: str) -> None:
    with pytest.raises(UserError, match=f"(?m)^{line}"):
        configure(*options)


@pytest.mark.parametrize(
    "options",
    [
        "sensitivity=discrete optimizer.grad_clip=0.1",
        "sensitivity=backsolve",
        pytest.param("sensitivity=gauss", marks=pytest.mark.slow),
        "regularize=[kinetic,steer,decay]",
        "model=mlp train.label_smoothing=0.1 data.augment=[crop]",
    ],
)
def test_groups_of_images_make_the_step_of_the_whole_batch(
    configure: Configure, tmp_path: Path, options: str
) -> None:
    """To the rounding of float64, with fixed steps; also where the last batch is smaller and its
    last group too. Work is the sum."""
    solver = [] if "mlp" in options else ["solver=rk4", "solver.n_steps=2"]
    exact = ["precision=float64", "optimizer=sgd", "data.limit=54", "batch_size=12"]
    config = [*SMALL, *exact, *solver, *options.split()]
    whole = run(configure(*config), tmp_path / "whole")
    grouped = run(configure(*config, "train.accumulate=3"), tmp_path / "grouped")
    ours = weights(grouped.last)
    for name, expected in weights(whole.last).items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-10, atol=1e-12)
    for one, other in zip(rows(grouped.steps), rows(whole.steps), strict=True):
        for column in ("loss", "accuracy", "grad_norm", *(c for c in one if "penalty" in c[:9])):
            if column != "nfe_penalty":
                assert float(one[column]) == pytest.approx(float(other[column]), rel=1e-10)
        if solver:
            groups = 1 if one["step"] in ("5", "10") else 3  # 49 images, of which the last has 1
            assert int(one["nfe_forward"]) == groups * int(other["nfe_forward"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.parametrize(
    "option",
    [
        "train.accumulate=2",
        "data.augment=[crop,mixup,cutmix]",
        "train.label_smoothing=0.1",
        "train.ema=0.5",
    ],
)
def test_compiled(configure: Configure, tmp_path: Path, graphs: list[object], option: str) -> None:
    config = [*SMALL, "precision=float64", "epochs=1", option]
    eager = run(configure(*config), tmp_path / "eager")
    compiled = run(configure(*config, "compile=true"), tmp_path / "compiled")
    assert graphs
    others = weights(eager.last)
    for name, w in weights(compiled.last).items():
        torch.testing.assert_close(w, others[name], rtol=1e-9, atol=1e-10)
    for one, other in zip(rows(compiled.evaluations), rows(eager.evaluations), strict=True):
        assert float(one["loss"]) == pytest.approx(float(other["loss"]), rel=1e-7)


def test_the_average_is_that_of_torch_and_moves_nothing(
    configure: Configure, tmp_path: Path
) -> None:
    """AveragedModel over the weights after each step; the training is the one without."""
    options = [*SMALL, "epochs=1", "data.limit=40", "train.checkpoint_every=1"]
    plain = run(configure(*options), tmp_path / "plain")
    seen: list[dict[str, torch.Tensor]] = []
    with pytest.MonkeyPatch.context() as patch:
        save = checkpoints.save

        def keep(path: Path, checkpoint: dict[str, Any]) -> None:
            if path.name == "last.pt":
                seen.append({k: v.clone() for k, v in checkpoint["model"].items()})
            save(path, checkpoint)

        patch.setattr(checkpoints, "save", keep)
        averaged = run(configure(*options, "train.ema=0.8"), tmp_path / "averaged")
    assert facts(plain.steps) == facts(averaged.steps)
    assert same_weights(plain.last, averaged.last)

    model = nn.ParameterDict({k.replace(".", "_"): nn.Parameter(v) for k, v in seen[0].items()})
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8))
    for values in seen:
        for name, value in values.items():
            model[name.replace(".", "_")].data.copy_(value)
        theirs.update_parameters(model)
    ours = torch.load(averaged.last, weights_only=True)["ema"]
    assert ours["updates"] == len(seen) == 3
    for name, value in ours["weights"].items():
        assert torch.equal(value, theirs.module[name.replace(".", "_")])

    found = run(configure("task=eval", f"checkpoint={averaged.last}"), tmp_path / "eval")
    again = {row["split"]: row["loss"] for row in rows(found.evaluations)}
    last = {row["split"]: row["loss"] for row in rows(averaged.evaluations)}
    assert again == last
    assert last.keys() == {"holdout", "test", "holdout_ema", "test_ema"}
    (epoch,) = rows(averaged.epochs)
    assert epoch["test_ema_loss"] == last["test_ema"] != last["test"]
    assert epoch["nfe_eval_mean"] == rows(plain.epochs)[0]["nfe_eval_mean"]


def test_the_average_is_the_trained_model(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holdout accuracy chooses best.pt, and stops; all that takes a checkpoint takes it."""
    monkeypatch.setattr("node_cli.learn.state_paths.INTERVALS", 2)
    options = ["data.limit=100", "data.holdout=0.3", "batch_size=16", "optimizer.lr=0.1"]
    options += ["solver=euler", "solver.n_steps=2", "train.ema=0.8"]
    folder = run(configure(*options, "epochs=2"), tmp_path / "run")
    first, second = rows(folder.epochs)
    assert float(first["holdout_accuracy"]) < float(second["holdout_accuracy"])
    assert float(first["holdout_ema_accuracy"]) > float(second["holdout_ema_accuracy"]) > 0.1
    assert folder.read_result()["best"]["epoch"] == 1
    best = float(first["holdout_ema_accuracy"])
    longer = configure(*options, "epochs=3", f"train.target={best}")
    assert reason_to_stop(longer, folder, 10**9).endswith("after epoch 2 of 3")

    average = torch.load(folder.best, weights_only=True)["ema"]["weights"]

    def assert_average(found: Mapping[str, torch.Tensor]) -> None:
        assert found.keys() == average.keys()
        assert all(torch.equal(w, average[name]) for name, w in found.items())

    assert_average(load(folder.path).classifier.state_dict())
    model = Classification.build(longer)
    load_for_evaluation(str(folder.path), model)
    assert_average(model.state_dict())
    assert_average(InitialWeights.read(str(folder.path), model, strict=True).weights)

    found = run(configure("task=eval", f"checkpoint={folder.last}"), tmp_path / "eval")
    (last,) = [row for row in rows(found.evaluations) if row["split"] == "holdout_ema"]
    assert last["accuracy"] == second["holdout_ema_accuracy"]
    assert rows(found.paths) == rows(folder.paths), "which plots show"
    raw = torch.load(folder.last, weights_only=True)
    raw["config"]["train"]["ema"] = None
    checkpoints.save(tmp_path / "raw.pt", raw)
    without = run(configure("task=eval", f"checkpoint={tmp_path}/raw.pt"), tmp_path / "without")
    assert rows(without.paths) != rows(folder.paths)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("ema"), "ema: missing"),
        (lambda c: c["ema"].update(updates=99), "ema.updates: 99, after 4 steps"),
        (lambda c: c["ema"].update(updates=-1), "ema.updates: -1, after 4 steps"),
        (lambda c: c["ema"]["weights"].popitem(), "ema.weights.*: missing"),
        (lambda c: c["ema"].update(weights=3), "ema.weights: must be a dict"),
        (lambda c: c["ema"]["weights"].update(x=3), "ema.weights.x: must be a tensor"),
    ],
)
def test_a_damaged_average_is_refused(
    configure: Configure, tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    folder = run(configure(*SMALL, "epochs=1", "train.ema=0.9"), tmp_path / "run")
    checkpoint = torch.load(folder.last, weights_only=True)
    change(checkpoint)
    checkpoints.save(folder.last, checkpoint)
    with pytest.raises(UserError, match=words):
        go_on(folder, epochs=2)
    with pytest.raises(UserError, match=words):
        load(folder.last)


def test_a_run_whose_augmentation_was_true_goes_on(configure: Configure, tmp_path: Path) -> None:
    """As older versions have written it, into config.yaml and into the checkpoint."""
    whole = run(configure(*SMALL, "data.augment=[crop]", "epochs=2"), tmp_path / "whole")
    old = run(configure(*SMALL, "data.augment=[crop]", "epochs=1"), tmp_path / "old")
    checkpoint = torch.load(old.last, weights_only=True)
    data = {k: v for k, v in checkpoint["config"]["data"].items() if k not in OPTIONS}
    checkpoint["config"]["data"] = data | {"augment": True}
    checkpoints.save(old.last, checkpoint)
    old.write_config(checkpoint["config"], [])
    go_on(old, epochs=2)
    assert same_weights(whole.last, old.last)
    assert facts(whole.steps) == facts(old.steps)
