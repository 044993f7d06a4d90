"""What is shown: a bar that comes and goes on a terminal, plain lines where nobody watches."""

import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

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

    def on_a_terminal(*options: str, folder: str = "run", **environment: str) -> str:
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
            run(configure(*(options or OPTIONS)), tmp_path / folder)
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
    assert re.search(r"epoch 1/2 +━{40}", shown)
    assert re.search(r"epoch 2/2 +━{40} +(loss|evaluating) ", shown)
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
    monkeypatch.setattr("node_cli.tasks.live.PLAIN_INTERVAL", -1.0)
    run(configure(*OPTIONS), tmp_path / "run")
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert re.findall(r"^  epoch (\d), step (\d)/5  loss \d", shown, re.MULTILINE) == [
        (epoch, step) for epoch in "12" for step in "12345"
    ]


def test_an_evaluation_shows_how_far_it_is(
    on_a_terminal: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of 359 test images, in batches of 64; in a training, and in tasks that evaluate."""
    update = Progress.update

    def update_at_once(self: Progress, *given: Any, **fields: Any) -> None:
        update(self, *given, **fields, refresh=True)

    monkeypatch.setattr(Progress, "update", update_at_once)

    def shown(*options: str, **where: str) -> str:
        return re.sub(r"\x1b\[[\d;]*m", "", on_a_terminal(*options, **where))

    trained = shown(*OPTIONS, "epochs=1", "eval.batch_size=64")
    assert "evaluating test, 0 of 359" in trained
    assert "evaluating test, 320 of 359" in trained
    number = r"━{40} +loss \d\.\d{3}  accuracy \d+\.\d%  NFE 14 \+ 0  [\d,]+ img/s"
    assert re.search(number, trained)

    over = f"checkpoint={tmp_path / 'run'}"
    evaluated = on_a_terminal("task=eval", over, folder="eval")
    of_test = r"evaluating test [━ ╸╺]{40} 320 of 359"
    assert re.search(of_test, re.sub(r"\x1b\[[\d;]*m", "", evaluated))
    assert "━" not in "".join(screen(evaluated)), "the bar is gone"
    swapped = shown("task=solver_swap", over, folder="swap")
    assert re.search(r"trying euler n_steps=1 [━ ╸╺]{40} 320 of 359", swapped)


def test_without_a_terminal_a_long_evaluation_shows_signs_of_life(
    configure: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("node_cli.tasks.live.PLAIN_INTERVAL", -1.0)
    run(configure("data.limit=100", "epochs=1", "eval.batch_size=300"), tmp_path / "run")
    shown = capsys.readouterr().out
    assert re.findall(r"^  evaluating (\w+), (\d+) of (\d+)$", shown, re.MULTILINE) == [
        ("holdout", "0", "10"),
        ("test", "0", "359"),
        ("test", "300", "359"),
    ]
    over = f"checkpoint={tmp_path / 'run'}"
    run(configure("task=eval", over), tmp_path / "eval")
    assert "\n  evaluating test, 300 of 359\n" in capsys.readouterr().out


@pytest.mark.parametrize(("columns", "cells"), [("80", 10), ("110", 30)])
def test_lines_and_bar_fit_the_terminal(
    on_a_terminal: Callable[..., str], columns: str, cells: int
) -> None:
    written = on_a_terminal(COLUMNS=columns)
    shown = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", written)
    lines = [line for line in re.split(r"[\r\n]+", shown) if "/run" not in line]
    assert max(map(len, lines)) <= int(columns)
    assert max(len(bar) for bar in re.findall("━+", shown)) <= cells
    assert "10->20, Tanh" in " ".join(shown.split()), "no break within a word"
