"""A training that is told to stop early stops there, whatever interrupts it, and stays stopped."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node_cli.cli.resume import resumed
from node_cli.config.check import checked
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.records.run_folder import RunFolder
from tests.commands import NodeTrain, composed
from tests.folders import assert_same_run, rows
from tests.runs import go_on, run, run_and_kill

Configure = Callable[..., Config]

SMALL = ("data.limit=200", "batch_size=60", "epochs=4")
STEPS_OF_AN_EPOCH = 3

STOP = {  # rule and the epoch after which it ends a run of SMALL with seed 0
    "train.stop_early=1 train.min_delta=0.9": 2,
    "train.target=0.01": 1,
    "train.max_seconds=0.001": 1,
}


def stopped_after(config: Config, accuracies: list[float], seconds: float = 0.0) -> int | None:
    """The first epoch after which the rules end a training; None if none does."""
    for epoch in range(1, len(accuracies) + 1):
        if config.train.reason_to_stop(accuracies[:epoch], seconds * epoch):
            return epoch
    return None


@pytest.mark.parametrize(
    ("typed", "epoch"),
    [
        (["train.stop_early=2"], 5),  # 0.7 is that of epoch 3, and 0.7 is no better
        (["train.stop_early=1"], 2),
        (["train.stop_early=3", "train.min_delta=0.15"], 6),  # 0.7 counts, 0.71 and 0.8 do not
        (["train.stop_early=7"], None),
        (["train.target=0.7"], 3),
        (["train.target=0.9"], None),
        (["train.target=0.8", "train.stop_early=2"], 5),
        (["train.max_seconds=10"], 4),
    ],
)
def test_where_the_rules_stop(configure: Configure, typed: list[str], epoch: int | None) -> None:
    accuracies = [0.5, 0.5, 0.7, 0.71 if "0.15" in typed[-1] else 0.7, 0.7, 0.8, 0.7]
    assert stopped_after(configure(*typed), accuracies, seconds=2.5) == epoch


@pytest.mark.parametrize("rule", STOP)
def test_it_is_done_with_its_reason(
    configure: Configure, tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: str
) -> None:
    folder = run(configure(*SMALL, *rule.split()), tmp_path / "run")
    status, result = folder.read_status(), folder.read_result()
    assert (status["status"], status["exit_code"]) == ("done", 0)
    assert status["reason"] == result["stopped"]
    assert status["reason"].startswith(rule.split()[0])
    assert status["reason"].endswith(f"after epoch {STOP[rule]} of 4")
    assert len(rows(folder.epochs)) == STOP[rule] == result["metrics"]["epoch"]
    assert f"stopped: {status['reason']}" in capsys.readouterr().out


def test_a_summary_has_the_reason(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node_cli.cli.jobs.plot_run", lambda _: None)
    monkeypatch.setattr("node_cli.report.summary.plot_sweep", lambda *_: None)
    assert node_train("-m", *SMALL, "train.target=0.01,1", "hydra.sweep.dir=sweep").code == 0
    stopped, complete = rows(tmp_path / "sweep" / "summary.csv")
    assert (stopped["status"], complete["status"]) == ("done", "done")
    assert stopped["reason"].startswith("train.target=0.01") and not complete["reason"]
    assert "stopped by" in (tmp_path / "sweep" / "summary.md").read_text()


def test_a_run_that_no_rule_has_ended_has_no_reason(configure: Configure, tmp_path: Path) -> None:
    folder = run(configure(*SMALL, "epochs=1", "train.target=0.01"), tmp_path / "run")
    assert folder.read_status()["reason"] == ""
    assert folder.read_result()["stopped"] is None


@pytest.mark.parametrize("rule", ["train.stop_early=1 train.min_delta=0.9", "train.target=0.01"])
def test_killed_and_resumed_stops_at_the_same_epoch(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    config = configure(*SMALL, *rule.split(), "train.checkpoint_every=1")
    whole = run(config, tmp_path / "whole")
    last = STOP[rule] * STEPS_OF_AN_EPOCH
    for step in (last - 1, last):
        killed = tmp_path / f"killed{step}"
        run_and_kill(config, killed, step, monkeypatch)
        go_on(RunFolder(killed))
        assert_same_run(whole, RunFolder(killed))
        assert RunFolder(killed).read_status()["reason"] == whole.read_status()["reason"]


def test_killed_after_its_last_epoch_it_only_finishes(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last checkpoint and result.json."""
    config = configure(*SMALL, "train.target=0.01")
    whole = run(config, tmp_path / "whole")
    folder = run(config, tmp_path / "killed")
    folder.result.unlink()
    folder.write_status("running", overrides=[])
    go_on(folder)
    assert_same_run(whole, folder)
    assert "train.target" in folder.read_status()["reason"]


@pytest.mark.parametrize("rule", STOP)
def test_a_stopped_run_stays_stopped_until_its_rule_is_lifted(
    configure: Configure, tmp_path: Path, rule: str
) -> None:
    key = rule.partition("=")[0]
    folder = run(configure(*SMALL, *rule.split()), tmp_path / "run")
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert resumed(folder, {}) is None
    with pytest.raises(UserError, match=rf"has stopped \({key}.*give another {key}, or null"):
        resumed(folder, {"epochs": 6})
    assert before == {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}

    lifted = {part.partition("=")[0].replace(".", "__"): None for part in rule.split()}
    go_on(folder, **lifted)
    assert_same_run(run(configure(*SMALL), tmp_path / "without"), folder)


def test_the_command_says_how_to_go_on(
    node_train: NodeTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node_cli.cli.jobs.plot_run", lambda _: None)
    assert node_train(*SMALL, "train.target=0.01", "hydra.run.dir=run").code == 0
    again = node_train("resume=run")
    assert again.code == 0
    assert "run: this run has stopped (train.target=0.01" in again.out
    assert "give another train.target, or null" in again.out
    assert node_train("resume=run", "epochs=9").code == 2


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["train.min_delta=0.1"], "train.min_delta=0.1: not used by train.stop_early=null"),
        (["train.stop_early=0"], "train.stop_early=0: must be greater than 0"),
        (["train.target=95"], "train.target=95: must be less than or equal to 1"),
        (["train.max_seconds=0"], "train.max_seconds=0: must be greater than 0"),
        (["train.stop_early=2", "data.holdout=0"], "train.stop_early=2: needs a holdout"),
        (["train.target=0.9", "data.holdout=0"], "train.target=0.9: needs a holdout"),
        (["train.max_seconds=9", "eval.test=end"], "train.max_seconds=9: not with eval.test=end"),
        (
            ["train.target=0.9", "data=spiral_linear", "model=linear_field"],
            "train.target=0.9: not with data=spiral_linear, which has no holdout",
        ),
        (["task=check_gradients", "train.target=0.9"], "train.target=0.9: not used by task="),
    ],
)
def test_what_cannot_be(typed: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        composed(*typed)


def test_an_evaluation_needs_no_holdout(configure: Configure, tmp_path: Path) -> None:
    """The rules belong to the training that the checkpoint is of."""
    folder = run(configure(*SMALL, "train.target=0.01"), tmp_path / "run")
    tree = configure("task=eval", f"checkpoint={folder.path}").model_dump()
    tree["data"]["holdout"] = 0.0
    assert checked(tree)[0].train.target == 0.01
