"""Interrupted and resumed equals uninterrupted, whatever interrupts and whenever."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from node_cli.cli.resume import resumed
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute
from tests.folders import assert_same_run, rows
from tests.runs import Killed, go_on, run, run_and_kill

Configure = Callable[..., Config]

# Everything that draws random numbers or keeps state: augmentation, momentum, evaluation of
# training images, a schedule, checkpoints in the middle of an epoch.
BUSY = [
    "data.limit=200",
    "batch_size=32",
    "epochs=3",
    "data.augment=[crop]",
    "optimizer=adamw",
    "optimizer.lr=3e-3",
    "schedule=cosine",
    "eval.initial=true",
    "eval.every_steps=4",
    "eval.train=2",
    "train.checkpoint_every=4",
]


@pytest.mark.parametrize("holdout", [pytest.param("0.1", marks=pytest.mark.slow), "0"])
def test_killed_at_any_write(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holdout: str
) -> None:
    """Killed before each file is put in place, the configuration apart: every resumed run ends like
    the uninterrupted one."""
    config = configure(*BUSY, f"data.holdout={holdout}")
    whole = run(config, tmp_path / "whole")
    replace = Path.replace
    left = 0

    def count_down(self: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", count_down)
    left = 10**9
    run(config, tmp_path / "counted")
    writes = 10**9 - left
    assert writes > 15
    for kill_at in range(2, writes, 1 if holdout == "0.1" else 3):
        left = kill_at
        path = tmp_path / f"killed{kill_at}"
        with pytest.raises(Killed):
            run(config, path)
        left = 10**9
        folder = RunFolder(path)
        assert folder.read_status().get("status") == ("running" if kill_at > 2 else None)
        go_on(folder)
        assert_same_run(whole, folder)


def test_torn_rows_and_rows_after_the_checkpoint_are_cut(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(*BUSY)
    whole = run(config, tmp_path / "whole")
    for steps in (3, 6, 11):
        path, seen = tmp_path / f"killed{steps}", 0

        def row_and_die(self: object, progress: object, row: object, steps: int = steps) -> None:
            nonlocal seen
            seen += 1
            if seen == steps:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr("node_cli.tasks.terminal.Terminal.step", row_and_die)
            with pytest.raises(Killed):
                run(config, path)
        folder = RunFolder(path)
        with folder.steps.open("a") as file:
            file.write(f"{steps + 1},1,0.5,0.")  # a torn line
        go_on(folder)
        assert_same_run(whole, folder)


def command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "node_cli", *overrides]


def wait_for_rows(path: Path, n: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or path.read_text().count("\n") <= n:
        assert process.poll() is None, "ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_sigkill_then_resume_on_the_command_line(tmp_path: Path) -> None:
    """The real thing, twice over: SIGKILL at some step, resume, SIGKILL again, resume."""
    overrides = [*BUSY, "epochs=12"]
    environment = {**os.environ, "CI": "true"}

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command(*arguments), cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
        )

    assert start(*overrides, "hydra.run.dir=whole").wait() == 0
    folder = RunFolder(tmp_path / "killed")
    process = start(*overrides, "hydra.run.dir=killed")
    wait_for_rows(folder.steps, 15, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for rows_before in (40, None):
        process = start("resume=killed")
        if rows_before is not None:
            wait_for_rows(folder.steps, rows_before, process)
            process.send_signal(signal.SIGKILL)
        code = process.wait()
    assert code == 0
    assert_same_run(RunFolder(tmp_path / "whole"), folder)
    assert not (tmp_path / "outputs").exists(), "no other folder is made"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_between_two_steps(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    config = configure(*BUSY)
    whole = run(config, tmp_path / "whole")
    folder = RunFolder(tmp_path / "stopped")

    def stop_at_step_6(self: object, progress: object, row: dict[str, int]) -> None:
        if row["step"] == 6:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr("node_cli.tasks.terminal.Terminal.step", stop_at_step_6)
        with pytest.raises(KeyboardInterrupt):
            run(config, folder.path)
    status = folder.read_status()
    assert (status["status"], status["exit_code"]) == ("interrupted", 130)
    assert f"node-train resume={folder.path}" in status["reason"]
    assert len(rows(folder.steps)) == 6, "the step was finished, and is in the checkpoint"
    go_on(folder)
    assert len(rows(folder.steps)) == 18
    assert_same_run(whole, folder)


def test_an_interrupted_run_has_its_plots_once_its_status_is_written(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seen = RunFolder(tmp_path), list[str]()
    monkeypatch.setattr(
        "node_cli.tasks.terminal.Terminal.step", lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    with pytest.raises(KeyboardInterrupt):
        execute(
            configure(*BUSY), folder, [], report=lambda f: seen.append(f.read_status()["status"])
        )
    assert seen == ["interrupted"]


def test_more_epochs_under_a_schedule_are_noted(configure: Configure, tmp_path: Path) -> None:
    """The rates, and the weights of penalties, so far were those of the shorter schedule."""
    scheduled = ("schedule=cosine", "regularize=[error,kinetic]")
    folder = run(configure("data.limit=100", "epochs=1", *scheduled), tmp_path / "run")
    found = resumed(folder, {"epochs": 2})
    assert found is not None
    of_rates, of_weights = found[1]
    assert of_rates.startswith("schedule=cosine: the learning rates of the 1 epochs so far")
    assert of_weights.startswith("regularize=[error]: the weights of the 1 epochs so far")


def test_a_finished_run_can_be_trained_further(configure: Configure, tmp_path: Path) -> None:
    """More epochs, with a constant learning rate: as if they had been asked for at once."""
    options = ["data.limit=200", "batch_size=32"]
    whole = run(configure(*options, "epochs=4"), tmp_path / "whole")
    folder = run(configure(*options, "epochs=2"), tmp_path / "short")
    assert resumed(folder, {}) is None
    go_on(folder, epochs=4)
    assert_same_run(whole, folder)


def test_two_processes_do_not_share_a_folder(configure: Configure, tmp_path: Path) -> None:
    config = configure("data.limit=100", "epochs=1")
    folder = run(config, tmp_path / "run")
    holder = "\n".join(
        [
            "import sys, time, pathlib",
            "from node_cli.records.run_folder import RunFolder",
            "with RunFolder(pathlib.Path(sys.argv[1])).locked():",
            "    print('held', flush=True)",
            "    time.sleep(60)",
        ]
    )
    process = subprocess.Popen(
        [sys.executable, "-c", holder, str(folder.path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    before = folder.status.read_text()
    with pytest.raises(UserError, match="another process"):
        execute(config, folder, [])
    assert folder.status.read_text() == before
    process.kill()
    process.wait()
    process.stdout.close()
    execute(config, folder, [])  # the lock went with its holder


def test_the_evaluation_that_is_left_to_the_last_epoch_is_not_lost(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure("data.limit=150", "epochs=3", "eval.test=end")  # two batches an epoch
    run_and_kill(config, tmp_path / "run", 5, monkeypatch)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(UserError, match="epochs=2: those are completed, without the evaluation"):
        go_on(folder, epochs=2)
    go_on(folder)
    assert [row["test_accuracy"] != "" for row in rows(folder.epochs)] == [False, False, True]


def test_a_kill_after_the_last_evaluation_leaves_a_run_that_can_be_resumed(
    configure: Configure, tmp_path: Path
) -> None:
    config = configure("data.limit=60", "epochs=1", "eval.test=end")
    whole = run(config, tmp_path / "whole")

    def die(*_: object) -> None:
        raise Killed

    (tmp_path / "killed").mkdir()
    folder = RunFolder(tmp_path / "killed")
    with pytest.raises(Killed):
        execute(config, folder, [], report=die)
    go_on(folder)
    assert_same_run(whole, folder)
