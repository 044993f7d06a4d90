"""Signals: a request between two steps, a stop at once, storms."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from node_cli import stopping
from node_cli.config.schema import Config
from node_cli.records.run_folder import RunFolder
from node_cli.stopping import (
    Interrupted,
    Stopped,
    exit_code,
    signals_held,
    stop_on_signal,
    stops_on_signal,
)
from tests.folders import rows
from tests.runs import run

Configure = Callable[..., Config]
POLITE = [n for n in stopping.SIGNALS if n not in stopping.BY_HAND]


@pytest.fixture(autouse=True)
def _no_earlier_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "_PROCESS", stopping._Process())


@pytest.mark.parametrize("number", POLITE)
def test_a_checkpoint_on_every_polite_signal(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def signal_at_step_2(self: object, progress: object, row: dict[str, int]) -> None:
        if row["step"] == 2:
            for _ in range(3):  # sent again by a limit that stays exceeded
                os.kill(os.getpid(), number)

    monkeypatch.setattr("node_cli.tasks.terminal.Terminal.step", signal_at_step_2)
    before = signal.signal(number, signal.SIG_DFL)  # a background process may ignore it
    try:
        with pytest.raises(Stopped) as caught:
            run(configure("data.limit=200", "batch_size=32", "epochs=3"), tmp_path / "run")
    finally:
        signal.signal(number, before)
    assert exit_code(caught.value) == 128 + number
    folder = RunFolder(tmp_path / "run")
    status = folder.read_status()
    assert (status["status"], status["exit_code"]) == ("interrupted", 128 + number)
    assert "checkpoint written; go on with: node-train resume=" in status["reason"]
    assert len(rows(folder.steps)) == 2


@pytest.mark.parametrize("late", [0, 5])
def test_a_storm_ends_in_status_interrupted(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    """Also where signals go on arriving while the status is being written."""
    write = RunFolder.write_status

    def storm(*_: object) -> None:
        for _ in range(10):
            os.kill(os.getpid(), signal.SIGINT)

    def write_in_a_storm(self: RunFolder, status: str, **more: object) -> None:
        if status == "interrupted":
            storm()
        write(self, status, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("node_cli.tasks.terminal.Terminal.step", storm)
    monkeypatch.setattr(RunFolder, "write_status", write_in_a_storm)
    monkeypatch.setattr(stopping, "REPEATED", -1.0 if late else 5.0)
    with stops_on_signal(even_if_ignored=True), pytest.raises(KeyboardInterrupt):
        run(configure("data.limit=200", "batch_size=32", "epochs=3"), tmp_path / "run")
    status = RunFolder(tmp_path / "run").read_status()
    assert status["status"] == "interrupted"
    assert ("stopped at once" if late else "checkpoint written") in status["reason"]


def test_a_second_signal_by_hand_stops_at_once() -> None:
    with stop_on_signal() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the same wish
        assert stop.number == signal.SIGINT
        stop.since = time.monotonic() - 2 * stopping.REPEATED
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)
        stop.number = 0


def test_a_request_that_comes_too_late_is_not_forgotten() -> None:
    with pytest.raises(Stopped), stop_on_signal():
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", POLITE)
def test_once_a_run_ends_on_a_request_its_last_words_are_not_cut_off(
    number: signal.Signals,
) -> None:
    """The status of an interrupted run is still to be written when its request is done with."""

    def end_on_a_request() -> None:
        with stop_on_signal() as stop:
            signal.raise_signal(number)
            raise Interrupted(stop.number)

    with stops_on_signal():
        with pytest.raises(Interrupted):
            end_on_a_request()
        signal.raise_signal(number)


def test_signals_wait_while_the_status_is_written() -> None:
    written = []

    def write() -> None:
        with signals_held():
            signal.raise_signal(signal.SIGTERM)
            written.append("status")

    with stops_on_signal(even_if_ignored=True), pytest.raises(Stopped):
        write()
    assert written


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stops_on_signal():
            signal.raise_signal(signal.SIGHUP)
        with stop_on_signal() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)
