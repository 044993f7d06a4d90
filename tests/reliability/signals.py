"""Signals and storms of them, and outputs that fail."""

import os
import random
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from node_cli.records.run_folder import RunFolder
from node_cli.stopping import SIGNALS
from tests.reliability.children import Child, End, Tally
from tests.reliability.kills import BUSY, go_on, whole_run


def one(where: Path, count: int) -> Tally:
    """One signal after a random part of the time that the run takes."""
    return _sent(where, count, "a signal, then `resume=`", storm=1)


def storms(where: Path, count: int) -> Tally:
    """Thirty signals, a few milliseconds apart."""
    return _sent(where, count, "30 signals in a row, then `resume=`", storm=30)


def _sent(where: Path, count: int, what: str, storm: int) -> Tally:
    tally, draw = Tally(what), random.Random(storm)
    whole, seconds = whole_run(where)
    for number in range(count):
        folder = RunFolder(where / f"stopped{number}")
        kind = SIGNALS[number % len(SIGNALS)]
        child = Child(where, *BUSY, f"hydra.run.dir={folder.path.name}")
        time.sleep(draw.uniform(0.3, 1.0) * seconds)
        for _ in range(storm):
            child.send(kind)
            time.sleep(draw.uniform(0, 0.01))
        # Killed by one that comes when all is written: the same exit code, to a shell.
        codes = (0, 130, 128 + kind, -kind)
        label = f"{kind.name} {number}"
        if tally.judge(child.end(), label, codes) and folder.status.exists():
            status = folder.read_status()["status"]
            if status not in ("interrupted", "done"):
                tally.add("lost", f"{label}: status {status}")
        go_on(tally, whole, folder, label)
        shutil.rmtree(folder.path, ignore_errors=True)
        tally.done += 1
    return tally


FAILING = (">/dev/full", "2>/dev/full", ">/dev/full 2>&1", ">&-", "2>&-", ">&- 2>&-", "| true")


def outputs(where: Path, count: int) -> Tally:
    """Standard output, error or both on a full disk, closed, or without a reader; in processes of
    their own, since a closed stream is found when Python starts."""
    tally = Tally("outputs on a full disk, closed, without a reader")
    whole, _ = whole_run(where)
    for number in range(count):
        redirection = FAILING[number % len(FAILING)]
        folder = RunFolder(where / f"silent{number}")
        typed = [*BUSY, f"hydra.run.dir={folder.path.name}"]
        command = shlex.join([sys.executable, "-m", "node_cli", *typed])
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command} {redirection}"],
            cwd=where,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        tally.judge(End(done.returncode, done.stdout + done.stderr), redirection, codes=(0, 1))
        if folder.read_status().get("status") != "done":
            tally.add("lost", f"{redirection}: status {folder.standing()}")
        go_on(tally, whole, folder, redirection)
        shutil.rmtree(folder.path, ignore_errors=True)
        tally.done += 1
    return tally
