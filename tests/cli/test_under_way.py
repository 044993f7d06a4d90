"""A sweep whose jobs run in processes of their own, as joblib's launcher has it."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from node_cli import stopping
from node_cli.cli.under_way import under_way
from node_cli.config.schema import Config
from node_cli.records.run_folder import RunFolder
from node_cli.stopping import Stopped, stops_on_signal
from node_cli.tasks.run import execute
from tests.folders import rows

Configure = Callable[..., Config]
ENDLESS = ["data.limit=60", "epochs=100000"]


def wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def job(config: Config, folder: RunFolder) -> None:
    with stops_on_signal(even_if_ignored=True):
        execute(config, folder, ["seed=0"])


def begin(config: Config, sweep: Path) -> multiprocessing.process.BaseProcess:
    """A process that runs job 0, some epochs later."""
    folder = RunFolder(sweep / "0")
    folder.path.mkdir(parents=True)
    process = multiprocessing.get_context("fork").Process(target=job, args=(config, folder))
    process.start()
    wait_for(lambda: folder.epochs.exists() and len(rows(folder.epochs)) > 2)
    return process


@pytest.fixture(autouse=True)
def _no_earlier_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_PROCESS", stopping._Process())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_jobs_of_other_processes(
    configure: Configure, tmp_path: Path, number: signal.Signals
) -> None:
    process = begin(configure(*ENDLESS), tmp_path / "s")
    with (
        stops_on_signal(even_if_ignored=True),
        pytest.raises(Stopped),
        under_way(tmp_path / "s"),
    ):
        signal.raise_signal(number)
    process.join()
    status = RunFolder(tmp_path / "s/0").read_status()
    assert (status["status"], status["exit_code"]) == ("interrupted", 130)
    assert "checkpoint written" in status["reason"]
    assert [row["status"] for row in rows(tmp_path / "s/summary.csv")] == ["interrupted"]


def test_a_job_that_was_killed_with_its_sweep_is_interrupted(
    configure: Configure, tmp_path: Path
) -> None:
    """Not so one that had been killed before: nobody knows what became of that."""
    process = begin(configure(*ENDLESS), tmp_path / "s")
    lost = RunFolder(tmp_path / "s/1")
    lost.path.mkdir()
    lost.write_status("running", overrides=["seed=1"])
    lost.write_config({})

    def die() -> None:
        process.kill()  # what joblib does
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), under_way(tmp_path / "s"):
        die()
    process.join()
    standing = [row["status"] for row in rows(tmp_path / "s/summary.csv")]
    assert standing == ["interrupted", "lost"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("group", [False, True])
def test_with_joblib(tmp_path: Path, number: signal.Signals, group: bool) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "node_cli", "-m", *launcher, *ENDLESS, "seed=0,1,2"),
                "hydra.sweep.dir=s",
            ],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
        )
    signal.signal(signal.SIGINT, before)
    jobs = [RunFolder(tmp_path / "s" / name) for name in "01"]
    wait_for(lambda: all(j.epochs.exists() and len(rows(j.epochs)) > 2 for j in jobs))
    (os.killpg if group else os.kill)(process.pid, number)
    assert process.wait(timeout=60) == 130
    for each in jobs:
        assert each.read_status()["status"] == "interrupted"
        assert "checkpoint written" in each.read_status()["reason"]
    assert "Traceback" not in (tmp_path / "err").read_text()


@pytest.mark.slow
def test_joblibs_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    """Their jobs with checkpoints, so that the sweep can be resumed at once."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "node_cli", "-m", *launcher, *ENDLESS, "seed=0,1,2"),
            "hydra.sweep.dir=s",
        ],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    jobs = [RunFolder(tmp_path / "s" / name) for name in "01"]
    wait_for(lambda: all(j.epochs.exists() and len(rows(j.epochs)) > 2 for j in jobs))
    pids = [job.read_status()["pid"] for job in jobs]
    process.kill()
    process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
    for job in jobs:
        assert job.read_status()["status"] == "interrupted"
        assert "checkpoint written" in job.read_status()["reason"]
        assert not job.is_locked()
