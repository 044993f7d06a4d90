"""report: pages of the runs in folders."""

import errno
import os
from pathlib import Path

import pytest

from tests.commands import QUICK, NodeTrain
from tests.folders import rows
from tests.report.finished_runs import run

EXPERIMENT = """\
# @package _global_
data: {limit: 150}
epochs: 1
published:
  - title: A table
    source: a page
    columns: epoch holdout_accuracy
    rows: [1 0.99]
"""
TABLE = """\
title: "Mine: a title"
rows: ["experiment=mine seed=0,1"]
note: A note on it.
plots: {plots/error.png: the error, 0/plots/loss.png: the loss, plots/nothing.png: none}
"""


def test_a_page_of_every_sweep_in_a_folder(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for group, text in (("experiment", EXPERIMENT), ("table", TABLE)):
        (tmp_path / "dir" / group).mkdir(parents=True)
        (tmp_path / "dir" / group / "mine.yaml").write_text(text)
    table = ("--config-dir", "dir", "table=mine", "hydra.sweep.dir=runs")
    assert node_train(*table).code == 0
    assert node_train("-m", *QUICK, "solver=tsit5,rk4", "hydra.sweep.dir=runs/grid").code == 0
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "old.csv").write_text("of another page")

    result = node_train("report", "runs", "report.out=.")
    assert result.code == 0, result.err
    page = (tmp_path / "RESULTS.md").read_text()
    for part in (
        "node-train report runs report.out=.",
        "- [Mine: a title](#mine-a-title)",
        "## Mine: a title",
        "node-train --config-dir dir table=mine\n",
        "A note on it.",
        "| 99.00%    |",
        "deviation of our 2 seeds",
        "![the error](results/mine/error.png)",
        "![the loss](results/mine/0_loss.png)",
        "## grid",
        "node-train -m data.limit=150 epochs=1 solver=tsit5,rk4\n",
        "1 thread; node-train",
    ):
        assert part in page, part
    assert "nothing.png" not in page
    results = tmp_path / "results"
    assert (results / "old.csv").exists(), "what is not ours stays"
    (results / "old.csv").unlink()
    files = {str(p.relative_to(results)) for p in results.rglob("*") if p.is_file()}
    names = {"error.png", "0_loss.png", "summary.csv", "published.csv"}
    grid = {"error.png", "nfe.png", "summary.csv"}
    assert files == {f"mine/{n}" for n in names} | {f"grid/{n}" for n in grid}
    assert len(rows(results / "mine" / "published.csv")) == 1

    assert node_train("report", "runs", "report.out=.").code == 0
    assert (tmp_path / "RESULTS.md").read_text() == page, "a function of the files alone"
    assert not (tmp_path / "runs" / "RESULTS.md").exists()

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "runs" / "mine" / "1" / "evaluations.csv").write_text("a,b\n1,2\n")
    result = node_train("report", "..")
    assert result.code == 0, "a damaged record costs its job alone"
    assert result.err.endswith("evaluations.csv: no column accuracy; mine/1 is left out\n")
    assert result.out.endswith("; of 3 runs\n")
    (tmp_path / "runs" / "mine" / "1" / "evaluations.csv").unlink()
    (tmp_path / "runs" / "mine" / "1" / "status.json").write_text("{}")
    assert node_train("report", "..").code == 0, "below the folder, from another one"
    assert not [*(tmp_path / "elsewhere").iterdir()], "written into the folder that was given"
    page = (tmp_path / "RESULTS.md").read_text()
    assert "## Mine: a title" in page
    assert "Jobs that are not done: 1 (damaged)." in page

    monkeypatch.chdir(tmp_path)
    assert node_train("-m", *QUICK, "seed=0", "hydra.sweep.dir=results/grid").code == 2
    (tmp_path / "results" / "grid" / "sweep.json").write_text("{}")
    result = node_train("report", "runs", "report.out=.")
    assert result.code == 2
    assert "results/grid: is a folder of runs" in result.err


def test_sections_of_runs_that_are_no_longer_there_stay(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        assert node_train("-m", *QUICK, "seed=0", f"hydra.sweep.dir=runs/{name}").code == 0
    assert node_train("report", "runs", "report.out=.").code == 0
    page = (tmp_path / "RESULTS.md").read_text()
    (tmp_path / "runs" / "second").rename(tmp_path / "second")
    assert node_train("report", "runs", "report.out=.").code == 0
    assert (tmp_path / "RESULTS.md").read_text() == page
    (tmp_path / "second").rename(tmp_path / "third")
    assert node_train("report", "third", "report.out=.").code == 0
    changed = (tmp_path / "RESULTS.md").read_text()
    titles = [line for line in changed.splitlines() if line.startswith("## ")]
    assert titles == ["## first", "## second", "## third"]
    old = page.partition("## first")[2].rstrip()
    assert old in changed, "as they were"


def test_nothing_of_others_is_written_over(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train("-m", *QUICK, "seed=0", "hydra.sweep.dir=runs/grid").code == 0
    for name in ("RESULTS.md", "results/grid/summary.csv"):
        file = tmp_path / "runs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine")
        result = node_train("report", "runs")
        assert result.code == 2
        assert "not written by report" in result.err
        assert "choose another folder with report.out=" in result.err
        assert file.read_text() == "mine"
        file.unlink()
    assert node_train("report=runs", "report.out=new/page").code == 0
    assert (tmp_path / "new" / "page" / "results" / "grid" / "summary.csv").exists()


def test_mistakes(node_train: NodeTrain, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        (["report", "empty"], "report empty: holds no run"),
        (["report", "empty", "nothing"], "report nothing: no such folder"),
        (["report"], "report: needs a folder of runs"),
        (["report", "empty", "seed=1"], "report seed=1: no such folder"),
        (["report=empty", "seed=1"], "seed: not with report"),
        (["report="], "report=: must be a path"),
        (["-m", "report", "empty"], "report: takes no flags"),
        (["-m", "report=empty"], "report=empty: takes no flags"),
    ):
        result = node_train(*arguments)
        assert result.code == 2
        assert message in result.err
        assert not (tmp_path / "RESULTS.md").exists()


def test_single_runs_of_several_folders(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no RESULTS.md, which is about sweeps; the page lies in the folder they share. On a
    full disk the one of before stays."""
    for folder in ("runs/a/x", "runs/b"):
        run(tmp_path / folder, "rk4", 0, 0.5)
    result = node_train("report", "runs/a", "runs/b")
    assert (result.code, result.out) == (0, "runs/report.html; of 2 runs\n"), result.err
    assert "node-train report runs/a runs/b" in (tmp_path / "runs" / "report.html").read_text()
    assert not (tmp_path / "runs" / "RESULTS.md").exists()
    (tmp_path / "runs" / "b" / "report.html").write_text("mine")
    result = node_train("report", "runs/b")
    assert result.code == 2
    assert "runs/b/report.html: not written by report; choose another folder" in result.err

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("node_cli.report.html_page.write_text", full)
    before = (tmp_path / "runs" / "report.html").read_text()
    result = node_train("report", "runs/a", "runs/b")
    assert (result.code, result.err) == (1, "error: runs: No space left on device\n")
    assert (tmp_path / "runs" / "report.html").read_text() == before
