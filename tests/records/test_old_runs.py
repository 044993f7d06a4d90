"""Runs, sweeps and tables that earlier commits have written can be read, for good.

One file per form that checkpoints, records or configurations have had: tests/make_old_runs.py.
"""

import tarfile
from pathlib import Path

import pytest

from node_cli.records.progress import Progress
from node_cli.records.run_folder import RunFolder
from node_cli.records.sweep_folder import is_sweep
from tests.commands import NodeTrain
from tests.folders import rows

OLD = sorted((Path(__file__).parents[1] / "runs").glob("*.tar.xz"))

# The first form, the first with a gradient method, that of the longest time, the newest.
ALWAYS = ("259dd44", "d4fc7bf", "c60607c", "aa0b05e")


def commit_of(path: Path) -> str:
    return path.name.partition(".")[0]


@pytest.fixture(
    params=[
        pytest.param(path, marks=[] if commit_of(path) in ALWAYS else pytest.mark.slow)
        for path in OLD
    ],
    ids=map(commit_of, OLD),
)
def old(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a commit has written; nothing is drawn."""
    for drawn in ("node_cli.cli.jobs.plot_run", "node_cli.report.summary.plot_sweep"):
        monkeypatch.setattr(drawn, lambda *_: None)
    with tarfile.open(request.param) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path


def test_there_are_some() -> None:
    assert {*ALWAYS} <= {*map(commit_of, OLD)}
    assert len(OLD) >= 10
    assert sum(path.stat().st_size for path in OLD) < 300_000


def test_an_epoch_in_progress_of_the_first_versions() -> None:
    """They knew no batches that are skipped."""
    state = Progress(step=3).state_dict()
    state["sums"] |= {"batches": 3, "images": 30}
    del state["sums"]["skipped"], state["sums"]["trained"]
    sums = Progress.from_state_dict(state).sums
    assert (sums.skipped, sums.trained) == (0, 30)


def test_evaluate(node_train: NodeTrain, old: Path) -> None:
    for name in ("run", "fit"):
        if (old / name).is_dir():
            found = node_train("task=eval", f"checkpoint={name}", f"hydra.run.dir=eval_{name}")
            assert found.code == 0, found.err
            assert rows(old / f"eval_{name}" / "evaluations.csv")


def test_resume(node_train: NodeTrain, old: Path) -> None:
    for name in ("run", "interrupted", "fit"):
        folder = RunFolder(old / name)
        if not folder.path.is_dir():
            continue
        before = rows(folder.epochs)
        found = node_train(f"resume={name}", f"epochs={len(before) + 1}")
        assert found.code == 0, found.err
        after = rows(folder.epochs)
        assert len(after) == len(before) + 1
        for row, same in zip(before, after, strict=False):
            assert row.items() <= same.items(), "what was recorded stays"
        assert folder.read_status()["status"] == "done"


def test_a_finished_run_is_finished(node_train: NodeTrain, old: Path) -> None:
    before = RunFolder(old / "run").last.read_bytes()
    found = node_train("resume=run")
    assert (found.code, "this run is finished" in found.out) == (0, True), found.err
    assert RunFolder(old / "run").last.read_bytes() == before


def test_resume_a_sweep(node_train: NodeTrain, old: Path) -> None:
    if not is_sweep(old / "sweep"):  # the first versions left Hydra's own file alone
        refused = node_train("resume=sweep")
        assert (refused.code, "resume its runs one by one" in refused.err) == (2, True)
        assert node_train("resume=sweep/0", "epochs=2").code == 0
        return
    found = node_train("resume=sweep")
    assert found.code == 0, found.err
    assert [row["status"] for row in rows(old / "sweep" / "summary.csv")] == ["done", "done"]


def test_report(node_train: NodeTrain, old: Path) -> None:
    if not is_sweep(old / "sweep"):
        return
    found = node_train("report", ".", "report.out=page")
    assert found.code == 0, found.err
    page = (old / "page" / "RESULTS.md").read_text()
    for name, folder in (("sweep", "sweep"), ("tiny", "table")):
        assert (f"## {name}" in page) == (old / folder).is_dir()
    assert "| test acc" in page and "%" in page


def test_start_from_its_weights(node_train: NodeTrain, old: Path) -> None:
    found = node_train("data.limit=30", "epochs=1", "init_from=run", "hydra.run.dir=new")
    assert found.code == 0, found.err
