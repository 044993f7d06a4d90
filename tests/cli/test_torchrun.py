"""Several processes train one model, as torchrun starts them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.cli.torchrun import check_typed
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.machine.ranks import ALONE, Ranks, here
from node_cli.ode.failures import SolveFailed
from node_cli.ode.sensitivity.methods import SENSITIVITIES
from node_cli.ode.solver import Solver
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.together import check_processes
from tests.commands import NodeTrain
from tests.folders import assert_same_run, rows
from tests.ranks import FIXED, SHARED, SMALL, assert_equal, ended, one_process, start, together

pytestmark = pytest.mark.usefixtures("undrawn")

# 81 images: batches of 20, each in groups of 10 of which three processes take 4, 3 and 3; and a
# last one of one image, of which two of them have none.
BUSY = [
    *(*SMALL, "batch_size=20", "train.accumulate=2", "train.ema=0.9", "train.label_smoothing=0.1"),
    *("data.augment=[crop,erasing,mixup]", "eval.train=1", "eval.batch_size=50"),
    *("regularize=[kinetic]", "optimizer.grad_clip=1", "eval.every_steps=3", "epochs=1"),
]


def test_three_processes_are_one(node_train: NodeTrain, tmp_path: Path) -> None:
    """Whatever a step is made of: groups, unequal parts, no part at all, mixed images, penalties;
    and the others are silent."""
    one = one_process(tmp_path, node_train, *BUSY, *FIXED)
    first, *others = together(3, *BUSY, *FIXED, folder=tmp_path)
    assert first.code == 0, first.out
    assert all(other.code == 0 and other.out == "" for other in others), others
    assert "processes    3, each computes 3 or 4 of 10 images" in first.out
    assert_equal(one, RunFolder(tmp_path / "run"))


def go_wrong(monkeypatch: pytest.MonkeyPatch, error: Exception, *, at: int, rank: int) -> None:
    """Let the gradient of one step raise in one process."""
    from node_cli.learn.classification import Classification

    gradient = Classification.gradient

    def failing(self: Classification, batch: object, step: int) -> object:
        if step == at and self.ranks.rank == rank:
            raise error
        return gradient(self, batch, step)  # type: ignore[arg-type]

    monkeypatch.setattr(Classification, "gradient", failing)


def failed_solve() -> SolveFailed:
    return SolveFailed("it did not work", solver=Solver("rk4"), advice="Give up.", t=0.5)


def wait_for(path: Path, lines: int) -> None:
    """Until a file has so many lines."""
    deadline = time.monotonic() + 120
    while not path.exists() or path.read_text().count("\n") < lines:
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def test_all_skip_what_one_cannot_solve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_wrong(monkeypatch, failed_solve(), at=1, rank=1)
    skip = ["train.on_solver_failure=skip", "batch_size=27"]
    first, second = together(2, *SMALL, *FIXED, *skip, folder=tmp_path)
    assert (first.code, second.code) == (0, 0), first.out
    losses = [row["loss"] for row in rows(tmp_path / "run/steps.csv")]
    assert [n for n, loss in enumerate(losses, start=1) if not loss] == [2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (failed_solve(), "failed: it did not work at t=0.5 (rk4). Give up.\n"),
        (MemoryError("no"), "failed: out of memory; what helps: a smaller batch_size"),
    ],
)
def test_an_error_of_one_process_is_told_by_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    go_wrong(monkeypatch, error, at=2, rank=1)
    first, second = together(2, *SMALL, *FIXED, "batch_size=27", folder=tmp_path)
    assert (first.code, second.code, second.out) == (1, 1, "")
    assert words in first.out
    assert first.out.count("failed") == 1
    assert RunFolder(tmp_path / "run").read_status()["exit_code"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_to_any_process_ends_all_with_a_checkpoint(
    node_train: NodeTrain, tmp_path: Path, rank: int
) -> None:
    """And one process goes on, to where it would have come by itself."""
    many = [*SMALL, *FIXED, "batch_size=9", "epochs=4"]
    pids = start(2, many, tmp_path)
    wait_for(tmp_path / "run/steps.csv", 8)
    os.kill(pids[rank], signal.SIGTERM)
    results = ended(pids, tmp_path)
    assert [r.code for r in results] == [130, 130], results
    assert "interrupted: checkpoint written; go on with: node-train resume=run" in results[0].out
    assert results[1].out == ""
    one = one_process(tmp_path, node_train, *many)
    done = len(rows(tmp_path / "run/steps.csv"))
    assert 7 <= done < 36
    assert node_train("resume=run").code == 0
    several = RunFolder(tmp_path / "run")
    assert_equal(one, several)
    changes = [(r["key"], r["before"], r["after"]) for r in rows(several.changes)]
    assert changes == [("processes", "2", "1")]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_others(
    node_train: NodeTrain, tmp_path: Path, rank: int
) -> None:
    """With one line, where the first one is left; and nothing is lost that a checkpoint has."""
    many = [*SMALL, *FIXED, "batch_size=9", "epochs=4", "train.checkpoint_every=5"]
    pids = start(2, many, tmp_path)
    wait_for(tmp_path / "run/steps.csv", 8)
    os.kill(pids[rank], signal.SIGKILL)
    results = ended(pids, tmp_path)
    assert results[rank].code == -signal.SIGKILL
    assert results[1 - rank].code == 1
    if rank:
        assert "failed: run: another process of this training has ended\n" in results[0].out
    else:
        assert results[1].out == ""
    resumed = together(2, "resume=run", folder=tmp_path)
    assert [r.code for r in resumed] == [0, 0], resumed
    assert_equal(one_process(tmp_path, node_train, *many), RunFolder(tmp_path / "run"))


@pytest.mark.slow
def test_a_full_disk_of_the_first_process_ends_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("node_cli.records.checkpoints.save", full)
    first, second = together(2, *SMALL, *FIXED, "batch_size=27", folder=tmp_path)
    assert (first.code, second.code, second.out) == (1, 1, "")
    assert first.out.endswith("failed: run: No space left on device\n")


def test_bad_input_is_told_once(tmp_path: Path) -> None:
    first, second = together(2, "data.limit=90", "epochs=x", folder=tmp_path)
    assert (first.code, second.code, second.out) == (2, 2, "")
    assert first.out == "error: epochs=x: must be a valid integer, not text\n"
    for typed, words in [
        (["-m", "seed=0,1"], "-m: is for one process, there are 2"),
        (["task=check_gradients"], "task=check_gradients: not with 2 processes of torchrun"),
    ]:
        first, second = together(2, *typed, folder=tmp_path)
        assert (first.code, second.code, second.out) == (2, 2, ""), first.out
        assert words in first.out
    assert {path.suffix for path in tmp_path.iterdir()} == {".log"}


@pytest.mark.parametrize("typed", ["--multirun", "--cfg", "report", "table=all", "+report=outputs"])
def test_what_is_typed_for_one_process(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_typed([typed])
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match=rf"torchrun: {re.escape(typed)}: is for one process"):
        check_typed(["seed=1", typed])


@pytest.mark.parametrize(
    "typed",
    ["device=cuda:0", "device=mps", "batch_size=2", "train.accumulate=64", "task=check_gradients"],
)
def test_what_several_processes_cannot_train(typed: str, configure: Callable[..., Config]) -> None:
    config = configure(typed)
    check_processes(config, ALONE)
    three = Ranks()
    three.size = 3
    with pytest.raises(UserError, match="3 processes of torchrun"):
        check_processes(config, three)


@pytest.mark.slow
@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
def test_every_gradient_method_with_two_and_four_processes(
    sensitivity: str, node_train: NodeTrain, tmp_path: Path
) -> None:
    """With a last batch of one image, at sizes that neither two nor four divide."""
    typed = [*FIXED, *SMALL, "batch_size=10", f"sensitivity={sensitivity}", "model=conv_dense"]
    one = one_process(tmp_path, node_train, *typed)
    for count in (2, 4):
        run = tmp_path / f"run{count}"
        results = together(count, *typed, f"hydra.run.dir={run}", folder=tmp_path)
        assert [r.code for r in results] == [0] * count, results
        assert_equal(one, RunFolder(run))


@pytest.mark.slow
def test_metrics_of_batches_that_several_have_evaluated(
    node_train: NodeTrain, tmp_path: Path
) -> None:
    pytest.importorskip("torchmetrics")
    typed = [*FIXED, *SMALL, "eval.metrics=[top_k,calibration_error]", "eval.batch_size=50"]
    one = one_process(tmp_path, node_train, *typed)
    assert together(3, *typed, folder=tmp_path)[0].code == 0
    assert_equal(one, RunFolder(tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "typed",
    [
        ["solver.first_step=warm", "sensitivity=backsolve", "optimizer=adamw"],
        ["model=conv_bn", "solver=euler", "solver.n_steps=2", "eval.test=end", "train.ema=0.9"],
        ["model.dropout_before=0.5", "data.augment=[cutmix,flip]"],
    ],
)
def test_resumed_equals_uninterrupted(typed: list[str], tmp_path: Path) -> None:
    """To the last bit with the same number of processes: statistics, dropout and first sizes are
    those that a checkpoint holds, or follow from the step."""
    typed = [*SMALL, "batch_size=9", "train.checkpoint_every=5", *typed]
    whole = tmp_path / "whole"
    assert together(2, *typed, f"hydra.run.dir={whole}", folder=tmp_path)[0].code == 0
    pids = start(2, typed, tmp_path)
    wait_for(tmp_path / "run/steps.csv", 8)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    ended(pids, tmp_path)
    assert RunFolder(tmp_path / "run").standing() == "lost"
    assert together(2, "resume=run", folder=tmp_path)[0].code == 0
    assert_same_run(RunFolder(whole), RunFolder(tmp_path / "run"))


def by_torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What torchrun itself makes of two processes."""
    torchrun = ["torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    return subprocess.run(
        [sys.executable, "-m", *torchrun, "-m", "node_cli", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.slow
def test_torchrun_itself(tmp_path: Path) -> None:
    done = by_torchrun(tmp_path, *SMALL, *FIXED, "batch_size=27", "epochs=1")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[1/1]") == 1
    assert RunFolder(tmp_path / "run").read_result()["processes"] == 2


@pytest.mark.gpu
def test_two_cards(node_train: NodeTrain, tmp_path: Path) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    for steps in (FIXED, SHARED):
        typed = [*SMALL, *steps, "device=cuda", "deterministic=true", "batch_size=20"]
        run = tmp_path / steps[0]
        done = by_torchrun(tmp_path, *typed, f"hydra.run.dir={run}")
        assert done.returncode == 0, done.stderr
        one = one_process(tmp_path / f"{run.name} alone", node_train, *typed)
        assert_equal(one, RunFolder(run), tolerance=1e-10)


@pytest.mark.slow
def test_an_interruption_before_the_training_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the first process alone, while the others wait for it."""
    from node_cli.tasks import setup

    def choose(*_: object, **__: object) -> object:
        if here().first:
            raise KeyboardInterrupt
        return original(*_, **__)

    original = setup.threads.choose
    monkeypatch.setattr(setup.threads, "choose", choose)
    first, second = together(2, *SMALL, *FIXED, "batch_size=27", folder=tmp_path)
    assert (first.code, second.code, second.out) == (130, 1, "")
    assert "interrupted: stopped at once" in first.out
