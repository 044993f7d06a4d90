"""Runs that were stopped, or could not write, on the command line; what resume= makes of them."""

import contextlib
import errno
import json
import os
import pkgutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node_cli.cli.main import main
from node_cli.records.run_folder import RunFolder
from tests.commands import QUICK, NodeTrain, in_a_fork, in_new_process
from tests.folders import rows
from tests.runs import Killed


def test_resume_on_the_command_line(node_train: NodeTrain, tmp_path: Path) -> None:
    assert node_train(*QUICK, "hydra.run.dir=run").code == 0
    finished = node_train("resume=run")
    assert finished.code == 0
    assert "run: this run is finished" in finished.out
    assert node_train("resume=run", "epochs=2").code == 0
    assert len(rows(tmp_path / "run" / "epochs.csv")) == 2
    refused = node_train("resume=run", "seed=1", "model=conv")
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 2
    assert not (tmp_path / "outputs").exists()


def test_a_full_disk_is_one_line(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("node_cli.records.checkpoints.save", full)
    result = node_train(*QUICK, "hydra.run.dir=run")
    assert result.code == 1
    assert result.err == "failed: run/checkpoints/best.pt: No space left on device\n"
    assert RunFolder(tmp_path / "run").read_status()["status"] == "failed"


def test_a_resume_that_cannot_write_does_not_pass_for_the_run_before(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_new_process(*QUICK, "hydra.run.dir=run", cwd=tmp_path)
    before = RunFolder(tmp_path / "run").status.read_text()

    def full(path: Path, _: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("node_cli.records.run_folder.write_text", full)
    result = node_train("resume=run", "epochs=2")
    assert result.code == 1
    assert "No space left on device" in result.err
    assert RunFolder(tmp_path / "run").status.read_text() == before


@pytest.mark.parametrize("moment", ["finds it empty", "has claimed it"])
def test_the_loser_of_a_race_for_a_folder_ends_with_2(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Another process takes the folder while this one is on its way there."""
    folder = RunFolder(tmp_path / "run")
    with contextlib.ExitStack() as other:

        def take(*_: object, **__: object) -> None:
            folder.path.mkdir(exist_ok=True)
            folder.status.write_text(json.dumps({"status": "running", "pid": os.getpid() + 1}))
            other.enter_context(folder.locked())

        hand_over = "node_cli.cli.hydra_app._for_hydra"
        preflight = "node_cli.cli.runs.preflight_all"
        at = preflight if moment == "finds it empty" else hand_over
        original = pkgutil.resolve_name(at)

        def taken(*arguments: Any, **options: Any) -> Any:
            take()
            return original(*arguments, **options)

        monkeypatch.setattr(at, taken)
        result = node_train(*QUICK, "hydra.run.dir=run")
    assert result.code == 2
    assert result.err == "error: run: another process is running in this folder\n"
    assert {path.name for path in folder.path.iterdir()} <= {"status.json", "config.yaml"}


@pytest.mark.parametrize("sweep", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_of_two_processes_that_start_in_one_folder_one_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sweep: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ["-m", "seed=0,1", "hydra.sweep.dir=s"] if sweep else ["hydra.run.dir=s"]
    monkeypatch.setattr(sys, "argv", ["node-train", *QUICK, *where])
    for attempt in range(3 if sweep else 1):
        ends = [in_a_fork(main, tmp_path / f"{attempt}.{n}") for n in range(2)]
        codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in ends)
        said = "".join((tmp_path / f"{attempt}.{n}").read_text() for n in range(2))
        assert codes == [0, 2], said
        assert said.count("error: ") == 1
        jobs = [tmp_path / "s" / n for n in "01"] if sweep else [tmp_path / "s"]
        assert [RunFolder(job).read_status()["status"] for job in jobs] == ["done"] * len(jobs)
        (tmp_path / "s").rename(tmp_path / f"won{attempt}")


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """What a shell starts in the background ignores SIGINT, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_training_is_an_interruption_too(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            "node_cli.data.sources.load", lambda *_: signal.raise_signal(number), raising=True
        )
        result = node_train(*QUICK, "hydra.run.dir=run")
    assert result.code == 130
    assert "interrupted: stopped at once; go on with: node-train resume=run" in result.err
    assert "Traceback" not in result.err
    assert node_train("resume=run").code == 0
    assert RunFolder(tmp_path / "run").read_status()["status"] == "done"


def test_a_run_is_done_once_its_plots_are(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_: object) -> None:
        raise Killed

    def stop(_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("node_cli.cli.jobs.plot_run", die)
        with pytest.raises(Killed):
            node_train(*QUICK, "hydra.run.dir=run")
        assert folder.read_status()["status"] == "running"
        patch.setattr("node_cli.cli.jobs.plot_run", stop)
        assert node_train("resume=run").code == 130
    assert folder.read_status()["status"] == "interrupted"
    assert node_train("resume=run").code == 0
    assert folder.read_status()["status"] == "done"
    assert (folder.plots / "loss.png").exists()


@pytest.mark.parametrize("named", ["run/checkpoints/last.pt", "run/checkpoints"])
def test_a_checkpoint_names_its_run(node_train: NodeTrain, tmp_path: Path, named: str) -> None:
    assert node_train(*QUICK, "hydra.run.dir=run").code == 0
    assert node_train(f"resume={named}", "epochs=2").code == 0
    assert len(RunFolder(tmp_path / "run").epochs.read_text().splitlines()) == 3


def test_a_run_killed_between_its_first_two_writes_keeps_what_was_typed(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """config.yaml is written, status.json is not."""

    def kill(*_: object, **__: object) -> None:
        raise Killed

    options = ["optimizer.lr=2e-3", "data.augment=[crop]"]
    with monkeypatch.context() as patch:
        # Before anything is written again by the run itself.
        patch.setattr("node_cli.cli.hydra_app.hand_over", kill)
        with pytest.raises(Killed):
            node_train(*QUICK, *options, "hydra.run.dir=run")
    folder = RunFolder(tmp_path / "run")
    assert [path.name for path in folder.path.iterdir() if path.is_file()] == ["config.yaml"]
    assert node_train("resume=run").code == 0
    assert node_train(*QUICK, *options, "hydra.run.dir=whole").code == 0
    assert folder.read_overrides() == RunFolder(tmp_path / "whole").read_overrides() != []
