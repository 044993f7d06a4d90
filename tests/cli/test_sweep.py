"""Sweeps: one table, whatever becomes of a job, and going on with them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from node_cli.records.run_folder import RunFolder
from node_cli.report.sweep_plots import plot_sweep
from node_cli.tasks.terminal import Terminal
from tests.commands import QUICK, NodeTrain, in_new_process
from tests.folders import assert_same_run, facts, rows

pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_sweep_ends_in_a_table_and_a_failing_job_costs_its_own_row(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node_cli.report.summary.plot_sweep", plot_sweep)
    result = node_train(
        "-m", *QUICK, "solver.tol=1e-2,1e-9", "seed=0,1", "solver.max_steps=5", "hydra.sweep.dir=s"
    )
    assert result.code == 1
    table = rows(tmp_path / "s" / "summary.csv")
    assert [(row["solver.tol"], row["seed"], row["status"]) for row in table] == [
        ("0.01", "0", "done"),
        ("0.01", "1", "done"),
        ("1e-09", "0", "failed"),
        ("1e-09", "1", "failed"),
    ]
    assert all(row["test_accuracy"] and row["seconds"] for row in table[:2])
    assert not table[2]["test_accuracy"]
    markdown = (tmp_path / "s" / "summary.md").read_text()
    assert markdown.split("\n\n", 1)[1] in result.out
    assert "±" in markdown
    assert {p.name for p in (tmp_path / "s" / "plots").iterdir()} == {
        "error.png",
        "nfe.png",
        "tolerance.png",
    }
    assert "5 steps were not enough" in result.err


def test_every_job_adds_its_row_to_the_summary_and_reads_no_other_job(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a job of a long sweep costs as much as one of a short sweep."""
    from node_cli.cli import under_way
    from node_cli.report import summary

    seen, read = [], []
    row, write = summary._row, under_way.summarise

    def spy(folder: RunFolder) -> Any:
        read.append(folder.path.name)
        return row(folder)

    def at_the_end(sweep: Path) -> Any:
        seen.append([*read, *(line["job"] for line in rows(sweep / "summary.csv"))])
        return write(sweep)

    monkeypatch.setattr(summary, "_row", spy)
    monkeypatch.setattr(under_way, "summarise", at_the_end)
    assert node_train("-m", *QUICK, "model.core=ode,none", "hydra.sweep.dir=s").code == 0
    assert seen == [["0", "1", "0", "1"]]


def test_a_resumed_job_is_brought_up_to_date_in_its_sweep(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    assert node_train("-m", *QUICK, "seed=0,1", "hydra.sweep.dir=s").code == 0
    before = rows(tmp_path / "s" / "summary.csv")
    assert node_train("resume=s/1", "epochs=3").code == 0
    after = rows(tmp_path / "s" / "summary.csv")
    assert before[0] == after[0]
    assert before[1]["train_accuracy"] != after[1]["train_accuracy"]
    assert (before[1]["epochs"], after[1]["epochs"]) == ("1", "3")


def test_the_result_of_fewer_epochs_does_not_outlive_them(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node_train("-m", *QUICK, "seed=0,1", "hydra.sweep.dir=s").code == 0
    before = rows(tmp_path / "s" / "summary.csv")[1]

    def stop(_: object, row: dict[str, int]) -> None:
        if row["epoch"] == 3:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Terminal, "epoch", stop)
    assert node_train("resume=s/1", "epochs=9").code == 130
    assert node_train("resume=s/0").code == 0  # a finished one; the summary is rewritten
    after = rows(tmp_path / "s" / "summary.csv")[1]
    assert after["status"] == "interrupted"
    last = rows(tmp_path / "s" / "1" / "epochs.csv")[-1]
    assert float(after["train_accuracy"]) == float(last["train_accuracy"])
    assert after["train_accuracy"] != before["train_accuracy"]


def test_a_sweep_is_not_run_twice_at_a_time(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train("-m", *QUICK, "seed=0,1", "hydra.sweep.dir=s").code == 0
    with RunFolder(tmp_path / "s").locked():
        result = in_new_process("resume=s", cwd=tmp_path)
    assert (result.code, result.err) == (2, "error: s: another process is running in this folder\n")


def test_an_interrupted_sweep_goes_on_where_it_was(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job done, one in the middle, one not begun: the summary equals that of a whole sweep."""
    sweep = ["-m", "data.limit=150", "epochs=3", "seed=0,1,2"]
    assert node_train(*sweep, "hydra.sweep.dir=whole").code == 0
    epochs = 0

    def stop_in_the_second_job(*_: object) -> None:
        nonlocal epochs
        epochs += 1
        if epochs == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Terminal, "epoch", stop_in_the_second_job)
        interrupted = node_train(*sweep, "hydra.sweep.dir=part")
    assert interrupted.code == 130
    assert "go on with the sweep: node-train resume=part" in interrupted.err
    assert [row["status"] for row in rows(tmp_path / "part/summary.csv")] == ["done", "interrupted"]

    refused = node_train("resume=part", "epochs=4")
    assert (refused.code, refused.err) == (2, "error: epochs: not with the resume= of a sweep\n")
    resumed = node_train("resume=part")
    assert resumed.code == 0
    assert "1 of 3 jobs are done already\n" in resumed.out
    for n in range(3):
        assert_same_run(RunFolder(tmp_path / f"whole/{n}"), RunFolder(tmp_path / f"part/{n}"))
    summaries = [facts(tmp_path / name / "summary.csv") for name in ("whole", "part")]
    assert summaries[0] == summaries[1]
    assert not (tmp_path / "outputs").exists()


def test_a_damaged_job_costs_its_own_row_when_a_sweep_goes_on(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    assert node_train("-m", *QUICK, "seed=0,1,2", "hydra.sweep.dir=s").code == 0
    for n in (0, 2):
        status = tmp_path / f"s/{n}/status.json"
        status.write_text(status.read_text().replace("done", "interrupted"))
    (tmp_path / "s/0/config.yaml").write_text("a: [")
    (tmp_path / "s/1/result.json").write_text('{"metrics": {"test_accuracy": "x"}}')
    resumed = node_train("resume=s")
    assert resumed.code == 1
    assert resumed.err.startswith("error: s/0/config.yaml: not readable")
    assert resumed.err.count("\n") == 1
    statuses = [row["status"] for row in rows(tmp_path / "s/summary.csv")]
    assert statuses == ["damaged", "damaged", "done"]


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    arguments = "-m data.limit=150 epochs=2 seed=0,1 hydra.sweep.dir=s"
    command = f"{sys.executable} -m node_cli {arguments} | head -n 1"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)
    assert done.stderr == b""
    assert [row["status"] for row in rows(tmp_path / "s/summary.csv")] == ["done", "done"]


def test_a_job_killed_between_its_first_two_writes_keeps_its_settings(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    """config.yaml is written, status.json, which has what was typed, is not."""
    sweep = ["-m", "data.limit=40", "batch_size=12", "epochs=1", "seed=0,1", "hydra.sweep.dir=s"]
    assert node_train(*sweep).code == 0
    before = RunFolder(tmp_path / "s" / "1").read_overrides()
    for path in sorted((tmp_path / "s" / "1").rglob("*"), reverse=True):
        if path.name != "config.yaml":
            path.rmdir() if path.is_dir() else path.unlink()
    assert node_train("resume=s").code == 0
    assert RunFolder(tmp_path / "s" / "1").read_overrides() == before
    assert [row["seed"] for row in rows(tmp_path / "s" / "summary.csv")] == ["0", "1"]
    (tmp_path / "s" / "1" / "status.json").unlink()
    assert node_train("resume=s/1", "epochs=2").code == 0
    overrides = RunFolder(tmp_path / "s" / "1").read_overrides()
    assert overrides == [*(o for o in before if not o.startswith("epochs")), "epochs=2"]
