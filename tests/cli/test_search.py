"""``hydra/sweeper=optuna``. All but the refusals need the extra ``optuna``."""

import errno
import json
import os
import re
from pathlib import Path

import pytest

from node_cli.cli import search
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.csv_files import CsvFiles
from node_cli.tasks.terminal import Terminal
from tests.commands import NodeTrain, in_new_process
from tests.folders import rows
from tests.runs import Killed

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = ("data.limit=100", "epochs=1")
SPACE = ("optimizer.lr=tag(log,interval(1e-4,1e-1))", "solver=dopri5,rk4", "solver.tol=1e-2,1e-3")
SEARCH = ("-m", "hydra/sweeper=optuna", *SMALL, *SPACE, "model.t1=int(interval(1,3))")


def chosen(sweep: Path) -> list[tuple[str, ...]]:
    names = ("optimizer.lr", "solver", "solver.tol", "model.t1", "holdout_accuracy", "status")
    return sorted(
        (row["job"], *(row[name] for name in names)) for row in rows(sweep / "summary.csv")
    )


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [1, 2])
def test_an_interrupted_search_ends_as_if_it_had_not_been(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    pytest.importorskip("optuna")
    options = [f"hydra.sweeper.n_trials={2 + 2 * at_once}", f"hydra.sweeper.n_jobs={at_once}"]
    assert node_train(*SEARCH, *options, "hydra.sweep.dir=whole").code == 0
    begun = iter(range(9))

    def dies(*_: object) -> None:
        if next(begun) == 2:
            raise Killed

    monkeypatch.setattr(Terminal, "start", dies)
    with pytest.raises(Killed):
        node_train(*SEARCH, *options, "hydra.sweep.dir=s")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert len(rows(tmp_path / "s" / "summary.csv")) == 3
    again = node_train("resume=s")
    assert again.code == 0
    assert chosen(tmp_path / "s") == chosen(tmp_path / "whole")

    best = json.loads((tmp_path / "s" / "best.json").read_text())
    accuracies = [float(row["holdout_accuracy"]) for row in rows(tmp_path / "s" / "summary.csv")]
    assert best["holdout_accuracy"] == max(accuracies)
    assert best["command"] in again.out
    typed = RunFolder(tmp_path / "s" / str(best["job"])).read_overrides()
    assert best["overrides"] == typed


def test_a_trial_that_fails_costs_itself_alone(node_train: NodeTrain, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    options = ("hydra.sweeper.n_trials=4", "hydra.sweeper.sampler=random", "hydra.sweep.dir=s")
    found = node_train("-m", "hydra/sweeper=optuna", *SMALL, "solver.max_nfe=1,1000", *options)
    assert found.code == 1
    summary = rows(tmp_path / "s" / "summary.csv")
    expected = {"1": "failed", "1000": "done"}
    assert [row["status"] for row in summary] == [expected[r["solver.max_nfe"]] for r in summary]
    best = json.loads((tmp_path / "s" / "best.json").read_text())
    assert "solver.max_nfe=1000" in best["overrides"]


def test_a_dry_run_measures_the_first_trial(node_train: NodeTrain, tmp_path: Path) -> None:
    """That which the search then begins with. Nothing is written."""
    pytest.importorskip("optuna")
    options = ("hydra.sweeper.n_trials=1", "hydra.sweep.dir=s")
    found = node_train("--dry-run", *SEARCH, *options)
    assert found.code == 0, found.err
    assert not [*tmp_path.iterdir()]
    assert "s: a search of 1 trials\nsought " in found.out
    assert "\n  optimizer.lr  tag(log,interval(1e-4,1e-1))\n" in found.out
    assert re.search(r"^training +1 steps", found.out, re.MULTILINE)
    (first,) = re.findall(r"^trial 0 +(.*)", found.out, re.MULTILINE)
    assert node_train(*SEARCH, *options).code == 0
    assert first.split() == RunFolder(tmp_path / "s" / "0").read_overrides()


def test_a_full_disk_ends_a_search_and_costs_no_trial(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a study that cannot be read end in a traceback."""
    pytest.importorskip("optuna")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(CsvFiles, "start", full)
    options = ("hydra.sweeper.n_trials=1", "seed=0,1", "hydra.sweep.dir=s")
    found = node_train("-m", "hydra/sweeper=optuna", *SMALL, *options)
    assert found.code == 1
    assert found.err.endswith(
        "go on with the sweep: node-train resume=s\nerror: s/0: No space left on device\n"
    )
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert node_train("resume=s").code == 0
    assert [row["status"] for row in rows(tmp_path / "s" / "summary.csv")] == ["done"]
    (tmp_path / "s" / "study.db").write_text("no study")
    found = node_train("resume=s")
    assert (found.code, "error: s/study.db: file is not a database\n" in found.err) == (1, True)


@pytest.mark.slow
def test_with_joblib(tmp_path: Path) -> None:
    """Batches of two, in two processes."""
    pytest.importorskip("optuna")
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    options = ["hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "hydra.sweep.dir=s"]
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    found = in_new_process(*SEARCH, *options, *launcher, cwd=tmp_path)
    assert found.code == 0, found.err
    assert "4/4  job" in found.out
    assert all((tmp_path / "s" / n / "output.log").exists() for n in "0123")
    assert re.search(r"^again +node-train ", found.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("", "hydra/sweeper=optuna: has nothing to choose; give values, key=a,b or "),
        ("optimizer.lr=interval(1,0.1)", "optimizer.lr=interval(1,0.1): must go from the smaller"),
        ("optimizer.lr=tag(log,interval(0,1))", "optimizer.lr=tag(log,interval(0,1)): must be "),
        ("optimizer.lr=interval(-1,1)", "optimizer.lr=-1.0: must be "),
        ("solver=rk4,dopri6", "solver=dopri6: choose from "),
        ("seed=0,1 data.holdout=0", "hydra/sweeper=optuna: needs a training with a holdout"),
        ("seed=0,1 hydra.sweeper.sampler=grid", "hydra.sweeper.sampler=grid: "),
        ("seed=0,1 hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials=0: "),
    ],
)
def test_what_cannot_be_searched(
    node_train: NodeTrain, monkeypatch: pytest.MonkeyPatch, typed: str, line: str
) -> None:
    monkeypatch.setattr(search, "find_spec", lambda _: True)
    found = node_train("-m", "hydra/sweeper=optuna", *typed.split())
    assert found.code == 2
    assert f"error: {line}" in found.err
    assert "Traceback" not in found.err


def test_without_optuna(node_train: NodeTrain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "find_spec", lambda _: None)
    found = node_train("-m", "hydra/sweeper=optuna", "seed=0,1")
    assert found.code == 2
    assert found.err == (
        "error: hydra/sweeper=optuna: needs optuna and sqlalchemy; "
        "pip install 'node-train[optuna]'\n"
    )
