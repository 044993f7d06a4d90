"""Signals and storms of them, and outputs that fail."""

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from node_cli.records.run_folder import RunFolder
from node_cli.stopping import SIGNALS
from tests.reliability.children import Child, Tally, run
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
        codes = (0, 130, 128 + kind)
        label = f"{kind.name} {number}"
        if tally.judge(child.end(), label, codes) and folder.status.exists():
            status = folder.read_status()["status"]
            if status not in ("interrupted", "done"):
                tally.add("lost", f"{label}: status {status}")
        go_on(tally, whole, folder, label)
        shutil.rmtree(folder.path, ignore_errors=True)
        tally.done += 1
    return tally


def _to_full(*numbers: int) -> Callable[[], None]:
    def before() -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        for number in numbers:
            os.dup2(full, number)

    return before


def _closed(*numbers: int) -> Callable[[], None]:
    return lambda: [os.close(number) for number in numbers] and None


def _no_reader(*numbers: int) -> Callable[[], None]:
    def before() -> None:
        read, write = os.pipe()
        os.close(read)
        for number in numbers:
            os.dup2(write, number)

    return before


FAILING = [
    kind(*numbers) for kind in (_to_full, _closed, _no_reader) for numbers in ((1,), (2,), (1, 2))
]


def outputs(where: Path, count: int) -> Tally:
    """Standard output, error or both on a full disk, closed, or without a reader."""
    tally = Tally("outputs on a full disk, closed, without a reader")
    whole, _ = whole_run(where)
    for number in range(count):
        folder, label = RunFolder(where / f"silent{number}"), f"output {number % len(FAILING)}"
        before = FAILING[number % len(FAILING)]
        end = run(where, *BUSY, f"hydra.run.dir={folder.path.name}", before=before)
        tally.judge(end, label, codes=(0,))
        if folder.read_status().get("status") != "done":
            tally.add("lost", f"{label}: status {folder.standing()}")
        go_on(tally, whole, folder, label)
        shutil.rmtree(folder.path, ignore_errors=True)
        tally.done += 1
    return tally
