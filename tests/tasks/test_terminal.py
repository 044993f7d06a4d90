"""What is shown: a bar that comes and goes on a terminal, plain lines where nobody watches."""

import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from node_cli.config.schema import Config
from tests.runs import run

pty = pytest.importorskip("pty")
Configure = Callable[..., Config]
OPTIONS = ["data.limit=300", "batch_size=64", "epochs=2"]
EPOCH_LINE = (
    r"\[%d/2\]  Time \d+\.\d\ds  Training Accuracy: \d+\.\d\d%%  Holdout Accuracy: \d+\.\d\d%%  "
    r"Test Accuracy: \d+\.\d\d%%  NFE 14 \+ 0"
)


@pytest.fixture
def on_a_terminal(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Runs with standard output on a pseudo-terminal; returns all that was written to it."""
    for name in ("CI", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "160", "LINES": "50"}.items():
        monkeypatch.setenv(name, value)

    def on_a_terminal(**environment: str) -> str:
        master, slave = pty.openpty()
        written = b""

        def read() -> None:
            nonlocal written
            try:
                while piece := os.read(master, 4096):
                    written += piece
            except OSError:  # the other end is closed
                pass

        reader = threading.Thread(target=read)
        reader.start()
        with monkeypatch.context() as patch, os.fdopen(slave, "w") as terminal:
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdout", terminal)
            run(configure(*OPTIONS), tmp_path / "run")
        reader.join()
        os.close(master)
        return written.decode()

    return on_a_terminal


def screen(written: str) -> list[str]:
    """What a terminal shows in the end, for the few controls that are in use."""
    lines, row, column = [""], 0, 0
    for control, text in re.findall(r"(\x1b\[[?\d;]*[A-Za-z]|[\r\n])|([^\x1b\r\n]+)", written):
        if text:
            lines[row] = lines[row][:column].ljust(column) + text + lines[row][column + len(text) :]
            column += len(text)
        elif control == "\r":
            column = 0
        elif control == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif control == "\x1b[2K":
            lines[row] = ""
        elif control.endswith("A"):
            row -= int(control[2:-1])
        else:  # colours; the cursor hidden and shown
            assert control.endswith("m") or control in ("\x1b[?25l", "\x1b[?25h"), repr(control)
    return [line.rstrip() for line in lines]


def test_a_live_bar_on_a_terminal_leaves_the_lines_of_the_epochs(
    on_a_terminal: Callable[..., str],
) -> None:
    written = on_a_terminal()
    shown = re.sub(r"\x1b\[[\d;]*m", "", written)
    assert re.search(r"epoch 1/2 +━{10}", shown)
    assert re.search(r"epoch 2/2 +━{10} +loss \d\.\d{3}  accuracy \d+\.\d%  NFE 14 \+ 0  ", shown)
    lines = "\n".join(screen(written)).rstrip("\n").split("\n")
    *_, blank, first, second, _, best, _, _ = lines
    assert blank == ""
    assert best.startswith("best   epoch ")
    assert re.fullmatch(EPOCH_LINE % 1, first)
    assert re.fullmatch(EPOCH_LINE % 2, second)
    assert "━" not in "".join(screen(written)), "the bar is gone"
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l"), "the cursor is back"


def test_plain_lines_under_ci(on_a_terminal: Callable[..., str]) -> None:
    written = on_a_terminal(CI="true")
    assert "\x1b" not in written
    *_, blank, first, second, _, _, _, _ = written.splitlines()
    assert blank == ""
    assert re.fullmatch(EPOCH_LINE % 1, first)
    assert re.fullmatch(EPOCH_LINE % 2, second)


def test_without_a_terminal_long_epochs_show_signs_of_life(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("node_cli.tasks.terminal.PLAIN_INTERVAL", -1.0)
    run(configure(*OPTIONS), tmp_path / "run")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert re.findall(r"^  epoch (\d), step (\d)/5  loss \d", shown, re.MULTILINE) == [
        (epoch, step) for epoch in "12" for step in "12345"
    ]
