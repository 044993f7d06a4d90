"""sweep.fail_fast, and sweeps that go on with their launcher."""

from pathlib import Path

import pytest

from node_cli.records.run_folder import RunFolder
from tests.commands import NodeTrain, in_new_process
from tests.folders import rows

SMALL = ("data.limit=60", "batch_size=20", "epochs=1")


pytestmark = pytest.mark.usefixtures("undrawn")


def statuses(sweep: Path) -> dict[str, str]:
    return {row["job"]: row["status"] for row in rows(sweep / "summary.csv")}


def test_no_job_starts_after_one_that_failed(node_train: NodeTrain, tmp_path: Path) -> None:
    found = node_train("-m", *SMALL, "solver.max_nfe=1000,1,2", "hydra.sweep.dir=all")
    assert found.code == 1
    assert statuses(tmp_path / "all") == {"0": "done", "1": "failed", "2": "failed"}

    fast = ("solver.max_nfe=1000,1,2", "sweep.fail_fast=true", "hydra.sweep.dir=fast")
    found = node_train("-m", *SMALL, *fast)
    assert found.code == 1
    assert statuses(tmp_path / "fast") == {"0": "done", "1": "failed"}
    assert "job 2: not started, job 1 has failed" in found.out
    assert not RunFolder(tmp_path / "fast" / "2").status.exists()


def test_resume_tries_again_and_then_the_others(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("seed=0,1,2", "sweep.fail_fast=true", "hydra.sweep.dir=s")
    with monkeypatch.context() as patch:
        patch.setattr("node_cli.learn.loop.Trainer.run", _full_disk)
        assert node_train("-m", *SMALL, *options).code == 1
    assert statuses(tmp_path / "s") == {"0": "failed"}
    assert node_train("resume=s").code == 0
    assert statuses(tmp_path / "s") == {"0": "done", "1": "done", "2": "done"}


def _full_disk(*_: object) -> None:
    raise OSError("no space")


def test_a_table_too(node_train: NodeTrain, tmp_path: Path) -> None:
    folder = tmp_path / "my" / "table"
    folder.mkdir(parents=True)
    row = f"{' '.join(SMALL)} solver.max_nfe=1,1000"
    (folder / "small.yaml").write_text(f"title: small\nrows:\n  - {row}\n")
    options = ("table=small", "sweep.fail_fast=true", "hydra.sweep.dir=t")
    assert node_train("--config-dir", "my", *options).code == 1
    (sweep,) = (tmp_path / "t").glob("**/sweep.json")
    assert statuses(sweep.parent) == {"0": "failed"}


def test_only_of_a_sweep(node_train: NodeTrain) -> None:
    found = node_train(*SMALL, "sweep.fail_fast=true")
    assert (found.code, found.out) == (2, "")
    assert "sweep.fail_fast=true: not used without -m" in found.err


@pytest.mark.slow
def test_with_joblib(tmp_path: Path) -> None:
    """Needs hydra-joblib-launcher. Of two workers one fails; the sweep goes on with both."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "sweep.fail_fast=true")
    values = "solver.max_nfe=1,1000,1001,1002,1003,1004"
    ran = in_new_process("-m", *launcher, *SMALL, values, "hydra.sweep.dir=s", cwd=tmp_path)
    assert ran.code == 1, ran.err
    sweep = tmp_path / "s"
    before = statuses(sweep)
    assert before["0"] == "failed"
    assert len(before) < 6
    assert {*before.values()} <= {"failed", "done"}

    again = in_new_process("resume=s", cwd=tmp_path)
    assert again.code == 1, "job 0 fails again"
    assert statuses(sweep)["0"] == "failed"
    assert "Traceback" not in again.err
