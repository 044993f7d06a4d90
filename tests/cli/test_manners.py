"""``--quiet``, ``--json`` and ``--dry-run``: what stands on standard output, what is written."""

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from node_cli.display import VARIABLE, Display, last_line, printing, speaks_json, tell
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.terminal import Terminal
from tests.commands import QUICK, NodeTrain, Result
from tests.folders import rows

SHORT = ["data.limit=60", "batch_size=30", "epochs=2"]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cli.jobs.plot_run", "report.summary.plot_sweep", "cli.report.write_page"):
        monkeypatch.setattr(f"node_cli.{name}", lambda *_: None)


def objects(result: Result) -> list[dict[str, Any]]:
    """Every line of standard output is one."""
    return [json.loads(line) for line in result.out.splitlines()]


def test_json(node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a part of a package prints."""
    monkeypatch.setattr(Terminal, "epoch", lambda *_: print("a word of its own"))
    result = node_train(*SHORT, "--json", "hydra.run.dir=run")
    assert (result.code, result.err) == (0, "")
    *epochs, end = objects(result)
    assert [o["event"] for o in (*epochs, end)] == ["epoch", "epoch", "end"]
    for told, row in zip(epochs, rows(tmp_path / "run" / "epochs.csv"), strict=True):
        assert told.pop("folder") == "run"
        assert {k: "" if v is None else str(v) for k, v in told.items() if k != "event"} == row
    folder = RunFolder(tmp_path / "run")
    assert (end["status"], end["exit_code"]) == ("done", 0)
    assert end["result"] == folder.read_result()
    assert sys.stdout is not None and VARIABLE not in os.environ


def test_json_of_a_sweep_and_of_a_failure(node_train: NodeTrain) -> None:
    sweep = ["-m", *SHORT, "epochs=1", "solver.max_nfe=1000,1", "hydra.sweep.dir=s", "--json"]
    result = node_train(*[word for word in sweep if word != "epochs=2"])
    assert result.code == 1
    assert result.err.count("failed: ") == 1
    told = [(o["event"], o.get("folder"), o.get("status")) for o in objects(result)]
    assert told == [
        ("epoch", "s/0", None),
        ("end", "s/0", "done"),
        ("end", "s/1", "failed"),
        ("sweep", "s", None),
    ]
    last = objects(result)[-1]
    assert (last["jobs"], last["done"]) == (2, 1)


def test_quiet(node_train: NodeTrain, tmp_path: Path) -> None:
    result = node_train(*SHORT, "--quiet", "hydra.run.dir=run")
    assert (result.code, result.out, result.err) == (0, "run\n", "")
    result = node_train("-m", *QUICK, "seed=0", "--quiet", "hydra.sweep.dir=s")
    assert (result.code, result.out, result.err) == (0, "s\n", "")
    assert node_train("epocs=1", "--quiet").out == ""


@pytest.mark.slow
def test_quiet_in_further_commands(node_train: NodeTrain) -> None:
    result = node_train(*QUICK, "solver.max_nfe=1", "--quiet", "hydra.run.dir=failed")
    assert (result.code, result.out) == (1, "failed\n")
    assert result.err.startswith("failed: ")
    assert node_train(*QUICK, "--quiet", "hydra.run.dir=run").out == "run\n"
    assert node_train("resume=run", "--quiet").out == "run\n"
    assert node_train("report", "run", "--quiet").out == f"{Path('run', 'report.html')}\n"


def test_a_process_that_was_started_prints_in_the_same_manner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for manner, expected in {"json": '{"event": "x", "y": null}\n', "quiet": "z\n"}.items():
        out = io.StringIO()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setenv(VARIABLE, manner)
        with printing(), printing():  # a job in the process of its sweep
            assert speaks_json() == (manner == "json")
            Display().line("text")
            print("text")
            tell("x", y=float("nan"))
            last_line("z")
        assert sys.stdout is out
        assert out.getvalue() == expected
        assert os.environ[VARIABLE] == manner


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quiet", "--json"], "--quiet: not with --json or --dry-run"),
        (["--quiet", "--dry-run"], "--quiet: not with --json or --dry-run"),
        (["--json", "--cfg", "job"], "--quiet, --json: go with runs, sweeps and reports"),
        (["--json", "new", "x"], "--quiet, --json: go with runs, sweeps and reports"),
        (["--dry-run", "--cfg", "job"], "--cfg, --info, --dry-run: give one of them"),
        (["--dry-run", "resume=x"], "resume=x: takes no flags"),
        (["--dry-run", "report", "x"], "report: takes no flags"),
        (["--dry-run", "hydra.run.dir=full"], "folder full: not empty"),
    ],
)
def test_mistakes(
    node_train: NodeTrain, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    result = node_train(*arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_a_dry_run_measures_and_writes_nothing(node_train: NodeTrain, tmp_path: Path) -> None:
    result = node_train("--dry-run", "data.limit=60", "batch_size=30", "epochs=7")
    assert result.code == 0, result.err
    for words in ("\nmodel   ", "\na step    ", "\ntraining  14 steps, ", "MiB in a step"):
        assert words in result.out
    result = node_train("--dry-run", "--json", "data=spiral_linear", "model=linear_field")
    (told,) = objects(result)
    assert (told["event"], told["steps"]) == ("dry_run", 300)
    assert told["step_seconds"] > 0 and told["memory_mib"] > 0
    result = node_train("--dry-run", *QUICK, "solver.max_nfe=1")
    assert (result.code, result.err[:8]) == (1, "failed: ")
    assert not [*tmp_path.iterdir()]


def test_a_dry_run_of_data_that_is_not_there(node_train: NodeTrain, tmp_path: Path) -> None:
    result = node_train("--dry-run", "data=mnist", "data.root=empty")
    assert (result.code, result.err) == (0, "")
    assert result.out == "14,070 steps; the data is not there yet, it would be downloaded\n"
    assert node_train("--dry-run", "data=mnist", "data.download=false").code == 2
    assert not [*tmp_path.iterdir()]


def test_a_dry_run_lists_the_jobs_of_a_sweep(node_train: NodeTrain, tmp_path: Path) -> None:
    result = node_train("--dry-run", "-m", "epochs=1,2", "hydra.sweep.dir=s")
    assert result.code == 0
    assert result.out.splitlines() == [
        "s: 2 jobs",
        "  0  epochs=1, 11 steps",
        "  1  epochs=2, 22 steps",
        "33 training steps together; nothing is written",
    ]
    result = node_train("--dry-run", "table=spirals")
    assert result.code == 0
    assert "spirals: 8 jobs\n" in result.out
    assert not [*tmp_path.iterdir()]
