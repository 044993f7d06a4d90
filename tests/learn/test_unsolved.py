"""Under ``train.on_solver_failure=skip`` a failed solve ends nothing, evaluations included."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from node_cli.cli.resume import resumed
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.models.blocks import ODEBlock
from node_cli.ode.failures import SolveFailed
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute
from tests.folders import rows
from tests.runs import go_on, run

Configure = Callable[..., Config]
SKIP = "train.on_solver_failure=skip"
SMALL = ["data.holdout=0", "data.limit=100", "batch_size=50", "epochs=2"]


@pytest.fixture
def fails_every_other_evaluation(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    solve, calls = ODEBlock.forward, [0]

    def forward(self: ODEBlock, y: Tensor) -> Tensor:
        if not self.training and not torch.is_grad_enabled():
            calls[0] += 1
            if calls[0] % 2:
                raise SolveFailed("no way", solver=self.solver, advice="", t=0.0)
        return solve(self, y)

    monkeypatch.setattr(ODEBlock, "forward", forward)
    return calls


@pytest.mark.usefixtures("fails_every_other_evaluation")
def test_images_that_cannot_be_solved_count_as_wrong(
    configure: Configure, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = run(configure(*SMALL, SKIP), tmp_path / "run")
    evaluations = rows(folder.evaluations)
    for row in evaluations:
        unsolved, images = int(row["unsolved"]), int(row["images"])
        assert 0 < unsolved < images
        assert float(row["accuracy"]) <= 1 - unsolved / images
        assert float(row["loss"]) > 0, "of the images that could be solved"
    row = evaluations[-1]
    shown = f"{row['unsolved']} of {row['images']} could not be solved, they count as wrong"
    assert shown in capfd.readouterr().out


@pytest.mark.usefixtures("fails_every_other_evaluation")
def test_without_skip_the_message_says_that_it_was_an_evaluation(
    configure: Configure, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    execute(configure(*SMALL), folder, [])
    status = folder.read_status()
    assert status["status"] == "failed"
    assert "evaluation of test after step 2: no way" in status["reason"]


def test_a_training_budget_does_not_end_a_run_that_skips(
    configure: Configure, tmp_path: Path
) -> None:
    """Every training step exceeds it; evaluations are not held to it."""
    config = configure(*SMALL, SKIP, "solver.max_nfe=7", "train.max_skipped=100")
    folder = run(config, tmp_path / "run")
    assert {row["loss"] for row in rows(folder.steps)} == {""}
    assert {row["unsolved"] for row in rows(folder.evaluations)} == {"0"}
    fit = ["experiment=spiral_linear", "epochs=1", "data.windows=2", "solver.max_nfe=20"]
    folder = run(configure(*fit, SKIP), tmp_path / "fit")
    assert rows(folder.epochs)[-1]["test_loss"]


def test_a_budget_may_be_raised_at_resume(configure: Configure, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    execute(configure(*SMALL, "solver.max_nfe=7"), folder, [])
    assert folder.read_status()["status"] == "failed"
    go_on(folder, solver__max_nfe=100, solver__tol=1e-2)
    assert folder.read_status()["status"] == "done"
    found = resumed(folder, {"epochs": 3, "solver.tol": 1e-4})
    assert found is not None
    assert "solver.tol=0.0001: from here on; the 2 epochs so far were made with" in found[1][0]
    with pytest.raises(UserError, match="steps may have been skipped"):
        resumed(folder, {"epochs": 3, "train.on_solver_failure": "raise"})


def test_evaluations_of_an_older_version_have_no_such_column(
    configure: Configure, tmp_path: Path
) -> None:
    folder = run(configure("data.limit=100", "epochs=1"), tmp_path / "run")
    lines = [line.rpartition(",")[0] for line in folder.evaluations.read_text().splitlines()]
    folder.evaluations.write_text("\n".join(lines) + "\n")
    checkpoint = torch.load(folder.last, weights_only=True)
    del checkpoint["records"]  # nor had its checkpoints
    torch.save(checkpoint, folder.last)
    go_on(folder, epochs=2)
    assert [row["unsolved"] for row in rows(folder.evaluations)] == ["", "", "0", "0"]
