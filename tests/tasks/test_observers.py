"""Observers: every one gets the same events; none but the records can end a run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.learn.observer import Further, Row, TrainingFacts
from node_cli.records.columns import EPOCHS, EVALUATIONS, STEPS, TRAJECTORIES
from node_cli.records.progress import Progress
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.csv_files import CsvFiles
from node_cli.tasks.observers import observers
from node_cli.tasks.run import execute
from node_cli.tasks.terminal import Terminal
from tests.folders import assert_same_run, rows
from tests.packages import Installer
from tests.runs import go_on, run

Configure = Callable[..., Config]
SMALL = ["data.limit=200", "batch_size=64", "epochs=2"]  # 3 steps an epoch

NOTED = [*SMALL, "observers=[notes,files,terminal]"]


class Notes:
    """Writes down every event."""

    required: ClassVar[bool] = False
    seen: ClassVar[list[tuple[str, Any]]] = []

    def __init__(self, config: Config, folder: RunFolder, display: Display) -> None:
        self.folder = folder

    def start(self, facts: TrainingFacts) -> None:
        self.seen.append(("start", facts))

    def step(self, progress: Progress, row: Row) -> None:
        self.seen.append(("step", row))

    def evaluation(self, rows: Sequence[Row], further: Further) -> None:
        self.seen.append(("evaluation", (rows, further)))

    def epoch(self, row: Row) -> None:
        self.seen.append(("epoch", row))

    def checkpoint(self) -> None:
        self.seen.append(("checkpoint", len(rows(self.folder.steps))))

    def end(self) -> None:
        self.seen.append(("end", None))


@pytest.fixture
def seen(install: Installer) -> list[tuple[str, Any]]:
    """The events of a run with an observer more, that of an installed package."""
    install(files={}, entries={"observers": {"notes": f"{__name__}:Notes"}})
    Notes.seen.clear()
    return Notes.seen


def test_the_events_of_a_run_in_their_order(
    configure: Configure, tmp_path: Path, seen: list[tuple[str, Any]]
) -> None:
    options = ["eval.initial=true", "eval.every_steps=2", "train.checkpoint_every=2"]
    folder = run(configure(*NOTED, *options), tmp_path / "run")
    first = "start evaluation step step evaluation checkpoint step evaluation epoch checkpoint"
    second = "step evaluation checkpoint step step evaluation epoch checkpoint end"
    assert [event for event, _ in seen] == f"{first} {second}".split()
    assert seen[0][1] == TrainingFacts(steps_done=0, batches_per_epoch=3, further=())
    for record, event in ((STEPS, "step"), (EPOCHS, "epoch")):
        told = [row for name, row in seen if name == event]
        assert [tuple(row) for row in told] == [record.columns] * len(told)
        written = rows(folder.path / record.file)
        assert [_cells(row) for row in told] == written
    told = [row for name, (rows, _) in seen[1:2] for row in rows]
    assert [_cells(row) for row in told] == rows(folder.path / EVALUATIONS.file)[: len(told)]
    assert [n for event, n in seen if event == "checkpoint"] == [2, 3, 4, 6], "rows come first"


def test_a_resumed_run_says_how_far_it_was(
    configure: Configure, tmp_path: Path, seen: list[tuple[str, Any]]
) -> None:
    folder = run(configure(*NOTED), tmp_path / "run")
    seen.clear()
    go_on(folder, epochs=3)
    assert seen[0][1].steps_done == 6
    assert [event for event, _ in seen].count("step") == 3


def test_what_an_evaluation_records_further(
    configure: Configure, tmp_path: Path, seen: list[tuple[str, Any]]
) -> None:
    options = ["data=spiral_linear", "model=linear_field", "solver=rk4", "data.windows=2"]
    folder = run(configure(*options, NOTED[-1], "epochs=1"), tmp_path / "run")
    assert seen[0][1].further == (TRAJECTORIES,)
    ((_, further),) = [facts for event, facts in seen if event == "evaluation"]
    assert [_cells(row) for row in further[TRAJECTORIES]] == rows(folder.trajectories)


def _cells(row: Row) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in row.items()}


def _broken(*_: object) -> None:
    raise RuntimeError("the wire\nis cut")


@pytest.mark.parametrize("event", ["start", "step", "evaluation", "epoch", "checkpoint", "end"])
def test_an_observer_that_fails_is_dropped_and_the_run_is_as_without_it(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    event: str,
) -> None:
    whole = run(configure(*SMALL), tmp_path / "whole")
    capsys.readouterr()
    monkeypatch.setattr(Terminal, event, _broken)
    broken = run(configure(*SMALL), tmp_path / "broken")
    assert_same_run(whole, broken)
    shown = capsys.readouterr()
    assert shown.err == "observer terminal: dropped, it failed (the wire is cut)\n"
    assert ("[2/2]" in shown.out) == (event == "end")


@pytest.mark.parametrize("event", ["step", "checkpoint"])
def test_records_that_cannot_be_written_end_the_run(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    monkeypatch.setattr(CsvFiles, event, _broken)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    assert execute(configure(*SMALL), folder, []) is None
    assert folder.read_status()["status"] == "failed"
    assert not folder.last.exists(), "no checkpoint counts rows that are not on disk"


def test_required_observers_come_first(configure: Configure, tmp_path: Path) -> None:
    config = configure("observers=[terminal,files]")
    made = observers(config, RunFolder(tmp_path), Display())
    assert list(made.watching) == ["files", "terminal"]


def test_nothing_depends_on_who_else_watches(configure: Configure, tmp_path: Path) -> None:
    whole = run(configure(*SMALL), tmp_path / "whole")
    alone = run(configure(*SMALL, "observers=[files]"), tmp_path / "alone")
    assert_same_run(whole, alone, besides=("observers",))
