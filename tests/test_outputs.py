"""A run never dies of its printing: dead terminals, full disks, closed streams."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from node_cli.errors import complain
from node_cli.outputs import Tolerant, tolerant_outputs
from node_cli.records.run_folder import RunFolder
from tests.commands import QUICK, NodeTrain

FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


class Dead:
    """A stream whose terminal is gone."""

    def write(self, text: str) -> int:
        raise OSError(errno.EIO, "Input/output error")

    def flush(self) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def fileno(self) -> int:
        raise ValueError("no number")


def test_a_stream_fails_once_and_is_then_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Dead())
    complain("nobody reads this")
    with tolerant_outputs() as (_, error):
        assert print("nor this", file=sys.stderr, flush=True) is None
        assert isinstance(error.failure, OSError)
        sys.stderr.writelines(["a", "b"])


def test_a_run_on_a_dead_terminal_is_done(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Dead())
    monkeypatch.setattr(sys, "stderr", Dead())
    assert node_train(*QUICK, "hydra.run.dir=run").code == 0
    assert node_train(*QUICK, "solver.max_nfe=7", "hydra.run.dir=failed").code == 1
    monkeypatch.undo()
    assert RunFolder(tmp_path / "run").read_status()["status"] == "done"
    assert RunFolder(tmp_path / "failed").read_status()["status"] == "failed"


def in_process(code: str, **streams: IO[bytes]) -> subprocess.CompletedProcess[bytes]:
    run = "import sys; from node_cli.outputs import tolerant_outputs\n"
    run += f"with tolerant_outputs() as (out, error):\n    {code}\n"
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run([sys.executable, "-c", run], check=False, **options)  # type: ignore[call-overload,no-any-return]


@needs_full
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_full_disk(name: str) -> None:
    """Nothing is left in a buffer that would fail when Python ends."""
    with FULL.open("wb") as full:
        done = in_process(f"print('x', file=sys.{name}); sys.{name}.flush()", **{name: full})
    assert done.returncode == 0
    assert not done.stderr


def test_closed_streams_leave_their_numbers_to_nobody(tmp_path: Path) -> None:
    """Else the first file that is opened gets what libraries print to standard error."""
    code = "f = open('record', 'w'); print('x', file=sys.stderr); assert f.fileno() > 2"
    run = "import os, sys; from node_cli.outputs import tolerant_outputs\n"
    run += f"with tolerant_outputs():\n    {code}\n"
    shell = f'exec {sys.executable} -c "$1" <&- >&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", shell, "sh", run],
        cwd=tmp_path,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.returncode == 0
    assert (tmp_path / "record").read_text() == ""


@needs_full
def test_what_only_prints_says_that_it_could_not(
    node_train: NodeTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Dead):
        write: Callable[[object, str], int] = lambda self, text: len(text)

    monkeypatch.setattr(sys, "stdout", Full())
    result = node_train("--version")
    assert result.code == 1
    assert result.err == "error: standard output: Input/output error\n"


def test_tolerant_passes_on_what_works(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        stream = Tolerant(file)
        assert stream.write("ä") == 1
        assert stream.fileno() == file.fileno()
        stream.flush()
    assert (tmp_path / "file").read_text() == "ä"
