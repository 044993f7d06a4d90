"""A long run and a large sweep: at their end they take what they took at their beginning."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.reliability.children import Child, Tally

PAUSE = 0.5
"""Seconds between two looks at a process."""
MORE_MEMORY = 32.0
"""MiB that a process may hold in its last quarter more than in its second."""
MORE_TIME = 1.1
"""How much more processor time a piece of work may take in the last quarter than in the second."""


@dataclass(frozen=True)
class Look:
    """What a process had done and held at a time. cpu: seconds; memory: MiB; files: open ones."""

    done: int
    cpu: float
    memory: float
    files: int


def soak(where: Path, count: int) -> Tally:
    """One run of at least ``count`` training steps, evaluated and checkpointed every 93."""
    tally = Tally("training steps of one run")
    epochs = max(-(-count // 93), 4)  # 1,294 images of digits in batches of 14
    typed = ["batch_size=14", f"epochs={epochs}", "hydra.run.dir=long"]
    records = where / "long" / "steps.csv"

    def steps() -> int:
        return records.read_bytes().count(b"\n") - 1 if records.exists() else 0

    _compare(tally, Child(where, *typed), steps)
    return tally


def sweep(where: Path, count: int) -> Tally:
    """One sweep of ``count`` jobs, each of one step, in one process."""
    tally = Tally("jobs of one sweep")
    typed = ["-m", f"seed=range({count})", "data.limit=60", "epochs=1", "hydra.sweep.dir=sweep"]

    def jobs() -> int:
        return len(list((where / "sweep").glob("*/result.json")))

    _compare(tally, Child(where, *typed), jobs)
    return tally


def _compare(tally: Tally, child: Child, done: Callable[[], int]) -> None:
    """Look at a process until its end, and compare the last quarter of its work with the second:
    in the first, caches fill. What follows the last piece is left out."""
    looks: list[Look] = []
    while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        looks.append(_look(child.pid, done()))
        time.sleep(PAUSE)
    tally.judge(child.end(), tally.what, codes=(0,))
    tally.done = done()
    second, last = (
        [look for look in looks if a * tally.done <= look.done < b * tally.done]
        for a, b in ((0.25, 0.5), (0.75, 1.0))
    )
    assert len(second) > 2 and len(last) > 2, "too short to be looked at"
    slower = _cpu_of_one(last) / _cpu_of_one(second)
    more_memory = max(look.memory for look in last) - max(look.memory for look in second)
    # The fewest: a file that is never closed counts at every look.
    more_files = min(look.files for look in last) - min(look.files for look in second)
    tally.note = (
        f"; last quarter against the second: {slower:.2f} of the processor time for one, "
        f"{more_memory:+.0f} MiB, {more_files:+d} open files"
    )
    if slower > MORE_TIME or more_memory > MORE_MEMORY or more_files > 0:
        tally.add("different", tally.note)


def _cpu_of_one(looks: list[Look]) -> float:
    return (looks[-1].cpu - looks[0].cpu) / (looks[-1].done - looks[0].done)


def _look(process: int, done: int) -> Look:
    folder = Path(f"/proc/{process}")
    after_name = (folder / "stat").read_text().rpartition(")")[2].split()
    ticks = int(after_name[11]) + int(after_name[12])  # utime, stime
    pages = int(after_name[21])  # rss
    return Look(
        done,
        ticks / os.sysconf("SC_CLK_TCK"),
        pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        len(list((folder / "fd").iterdir())),
    )
