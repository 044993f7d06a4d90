"""The first command of the README: from a checkout, and from the wheel."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from node_cli.records.run_folder import RunFolder
from tests.commands import QUICK, NodeTrain
from tests.folders import rows

REPOSITORY = Path(__file__).parents[2]


def only_run(cwd: Path) -> RunFolder:
    (status,) = cwd.glob("outputs/*/*/status.json")
    return RunFolder(status.parent)


def test_the_first_command_in_a_new_process(tmp_path: Path) -> None:
    """No argument: offline, without torchvision, well above chance; all the records are there."""
    code = "\n".join(
        [
            "import sys, socket",
            "socket.socket.connect = None  # no network",
            "sys.argv = ['node-train']",
            "from node_cli.cli.main import main",
            "code = main()",
            "slow = {'torchvision', 'sklearn', 'scipy'}",
            "assert not slow & set(sys.modules), slow & set(sys.modules)",
            "sys.exit(code)",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "16,450 parameters" in done.stdout
    assert re.search(
        r"^\[30/30\]  Time [\d.]+s  Training Accuracy: [\d.]+%  .*Test Accuracy: [\d.]+%  NFE 14",
        done.stdout,
        re.MULTILINE,
    )
    folder = only_run(tmp_path)
    assert float(rows(folder.epochs)[-1]["test_accuracy"]) >= 0.94
    plots = {"loss.png", "accuracy.png", "nfe.png", "paths.png"}
    assert {path.name for path in folder.plots.iterdir()} == plots
    assert {path.name for path in folder.path.iterdir()} == {
        *("config.yaml", "status.json", "result.json", "steps.csv", "epochs.csv"),
        *("evaluations.csv", "paths.csv", "flow.csv", "classes.csv", "checkpoints", "plots"),
    }


@pytest.mark.slow
def test_accuracy_of_the_first_command_over_seeds(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train("-m", "seed=0,1,2,3,4", "hydra.sweep.dir=sweep").code == 0
    accuracies = [float(row["test_accuracy"]) for row in rows(tmp_path / "sweep/summary.csv")]
    assert min(accuracies) >= 0.94
    assert sum(accuracies) / 5 >= 0.96


@pytest.mark.slow
def test_the_wheel_runs_from_an_empty_folder(tmp_path: Path) -> None:
    """Built, unpacked, run: the configuration is inside."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, REPOSITORY],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    target, empty = tmp_path / "site", tmp_path / "empty"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, wheel],
        check=True,
    )
    empty.mkdir()
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import node_cli.cli.main as cli; "
    code += f"assert cli.__file__.startswith({str(target)!r}); sys.argv[1:] = {QUICK!r}; "
    code += "sys.exit(cli.main())"
    subprocess.run([sys.executable, "-c", code], cwd=empty, check=True)
    assert only_run(empty).read_status()["status"] == "done"
