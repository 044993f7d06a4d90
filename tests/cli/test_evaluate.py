"""``task=eval``: a checkpoint under its own and other solvers, with the split it was trained on."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from node_cli.config.files import CONF
from node_cli.records.run_folder import RunFolder
from tests.commands import QUICK, NodeTrain
from tests.folders import rows

pytestmark = pytest.mark.usefixtures("undrawn")


def test_evaluate_under_other_solvers(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train("epochs=5", "hydra.run.dir=run").code == 0
    trained = json.loads((tmp_path / "run" / "result.json").read_text())["metrics"]
    same = node_train("task=eval", "checkpoint=run/checkpoints/last.pt", "hydra.run.dir=same")
    assert same.code == 0
    assert "\nsolver       dopri5 rtol=0.001 atol=0.001" in same.out
    assert "\nsensitivity  none" in same.out
    evaluated = json.loads((tmp_path / "same" / "result.json").read_text())["metrics"]
    assert evaluated["test_accuracy"] == trained["test_accuracy"]
    assert evaluated["test_loss"] == trained["test_loss"]
    assert f"Accuracy: {trained['test_accuracy']:.2%}" in same.out

    result = node_train(
        *("-m", "task=eval", "checkpoint=run", "solver=euler,dopri5", "eval.train=all"),
        *("hydra.sweep.dir=sweep",),
    )
    assert result.code == 0
    euler, dopri5 = rows(tmp_path / "sweep" / "summary.csv")
    assert float(euler["nfe_eval_mean"]) == 10
    assert float(dopri5["nfe_eval_mean"]) == 14
    recorded = rows(tmp_path / "sweep" / "0" / "evaluations.csv")
    assert [row["split"] for row in recorded] == ["holdout", "test", "train"]
    assert RunFolder(tmp_path / "sweep" / "0").read_config()["solver"]["name"] == "euler"


def test_an_evaluation_keeps_the_holdout_of_the_training(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    """Cut anew, it would have images that were trained on."""
    assert node_train(*QUICK, "data.holdout=0.2", "hydra.run.dir=run").code == 0
    for typed in ([], ["data=digits"], ["data.normalize=true"]):
        shutil.rmtree(tmp_path / "e", ignore_errors=True)
        assert node_train("task=eval", "checkpoint=run", *typed, "hydra.run.dir=e").code == 0
        result = RunFolder(tmp_path / "e").read_result()
        assert result["images"] == {"train": 120, "holdout": 30, "test": 359}
        trained = RunFolder(tmp_path / "run").read_result()["metrics"]
        assert result["metrics"]["holdout_accuracy"] == trained["holdout_accuracy"]
    refused = node_train("task=eval", "checkpoint=run", "data.holdout=0.9")
    assert refused.err == "error: data.holdout=0.9: not used by task=eval\n"


def test_results_of_evaluations_have_the_words_of_the_records(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    """Of training images: evaluated after training, where train_accuracy is the running one."""
    assert node_train(*QUICK, "eval.train=all", "hydra.run.dir=run").code == 0
    sweep = ["-m", "task=eval", "checkpoint=run", "eval.train=all", "solver.tol=1e-3,1e-4"]
    assert node_train(*sweep, "hydra.sweep.dir=s").code == 0
    trained = RunFolder(tmp_path / "run").read_result()["metrics"]
    row = rows(tmp_path / "s" / "summary.csv")[0]
    assert float(row["train_eval_accuracy"]) == trained["train_eval_accuracy"]
    assert (row["train_accuracy"], row["seconds"]) == ("", "")
    assert float(row["eval_seconds"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("sensitivity", ["discrete", "backsolve"])
def test_evaluate_under_every_solver(
    node_train: NodeTrain, tmp_path: Path, sensitivity: str
) -> None:
    """No gradient is computed: how the checkpoint was trained is of no concern."""
    train = [*QUICK, f"sensitivity={sensitivity}", "solver.rtol=1e-2", "solver.atol=1e-4"]
    assert node_train(*train, "hydra.run.dir=run").code == 0
    solvers = [path.stem for path in CONF.glob("solver/[!_]*.yaml")]
    sweep = ["task=eval", "checkpoint=run", f"solver={','.join(solvers)}"]
    assert node_train("-m", *sweep, "hydra.sweep.dir=sweep").code == 0
    table = rows(tmp_path / "sweep" / "summary.csv")
    assert len(table) == len(solvers) == 15
    assert all(float(row["nfe_eval_mean"]) > 0 for row in table)
    accuracies = [float(row["test_accuracy"]) for row in table]
    assert max(accuracies) - min(accuracies) < 0.02
    assert RunFolder(tmp_path / "sweep" / "0").read_config()["sensitivity"] is None


def test_a_tolerance_typed_for_an_evaluation_wins(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train(*QUICK, "solver.rtol=1e-2", "solver.atol=1e-2", "hydra.run.dir=run").code == 0
    assert node_train("task=eval", "checkpoint=run", "solver.tol=1e-6", "hydra.run.dir=e").code == 0
    assert "rtol=1e-06 atol=1e-06" in RunFolder(tmp_path / "e").read_result()["solver"]


def test_an_option_of_the_checkpoints_own_solver(node_train: NodeTrain, tmp_path: Path) -> None:
    """Not of the default one, which the command line alone would compose."""
    assert node_train(*QUICK, "solver=rk4", "hydra.run.dir=run").code == 0
    result = node_train("task=eval", "checkpoint=run", "solver.n_steps=2", "hydra.run.dir=e")
    assert result.code == 0
    assert RunFolder(tmp_path / "e").read_result()["solver"] == "rk4 n_steps=2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=mlp"], "checkpoints/best.pt: does not fit the model ("),
        (["seed=1"], "seed=1: not used by task=eval"),
        (["epochs=3"], "epochs=3: not used by task=eval"),
        (["optimizer=sgd"], "optimizer=sgd: not used by task=eval"),
        (["solver=rk4", "solver.tol=1"], "solver.tol=1: not used by solver=rk4"),
        (["checkpoint=torn"], "/torn: damaged, or not a checkpoint"),
        (["checkpoint=other"], "/other: damaged, or not a checkpoint of node-train"),
        (["checkpoint=evil"], "/evil: damaged, or not a checkpoint"),
    ],
)
def test_mistakes_in_an_evaluation(
    node_train: NodeTrain, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert node_train(*QUICK, "hydra.run.dir=run").code == 0
    content = RunFolder(tmp_path / "run").last.read_bytes()
    (tmp_path / "torn").write_bytes(content[: len(content) // 2])
    torch.save({"model": {}}, tmp_path / "other")
    torch.save({"model": print, "config": {}}, tmp_path / "evil")
    result = node_train("task=eval", "checkpoint=run", *arguments)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert result.err.count("\n") == 1
