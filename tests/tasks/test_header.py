"""What a training shows of itself, before the first step and after the last."""

from pathlib import Path

from node_cli.records.run_folder import RunFolder
from tests.commands import QUICK, NodeTrain


def test_the_optimizer_the_steps_and_how_it_ended(node_train: NodeTrain, tmp_path: Path) -> None:
    options = ["optimizer=sgd", "schedule=step", "schedule.milestones=[1]", "batch_size=32"]
    out = node_train(*QUICK, *options, "hydra.run.dir=run").out
    assert "\noptimizer    sgd lr=0.1 momentum=0.9, schedule step milestones=[1] gamma=0.1\n" in out
    folder = RunFolder(tmp_path / "run")
    result = folder.read_result()
    steps, accuracy = result["metrics"]["step"], result["best"]["holdout_accuracy"]
    assert f"\ntraining     1 epoch of {steps} steps, batch size 32\n" in out
    assert f"\nbest   epoch 1, Holdout Accuracy: {accuracy:.2%}\n" in out
    assert f"\nplots  {folder.plots.relative_to(tmp_path)}\n" in out


def test_an_evaluation_has_no_optimizer(node_train: NodeTrain) -> None:
    assert node_train(*QUICK, "hydra.run.dir=run").code == 0
    out = node_train("task=eval", "checkpoint=run").out
    assert "\nsolver " in out
    assert "\noptimizer" not in out
