"""Kills and full disks: what is resumed equals what was never interrupted, to the last bit."""

import ctypes
import os
import random
import shutil
import signal
import time
import traceback
from pathlib import Path

from node_cli.records.run_folder import RunFolder
from tests.folders import assert_same_run
from tests.reliability.children import (
    COUNT,
    FAULTS,
    FULL,
    KILL,
    TEAR,
    Child,
    Tally,
    fault_at,
    run,
)

# Everything that draws random numbers or keeps state, in a run of some 0.1 s.
BUSY = (
    *("data.limit=60", "batch_size=16", "epochs=3", "data.augment=[crop]", "seed=3"),
    *("optimizer=adamw", "optimizer.lr=3e-3", "schedule=cosine"),
    *("eval.initial=true", "eval.every_steps=3", "eval.train=1", "train.checkpoint_every=2"),
)


def same(tally: Tally, whole: RunFolder, folder: RunFolder, label: str) -> None:
    """Count a run that does not equal the whole one, overrides included."""
    try:
        assert_same_run(whole, folder)
        assert whole.read_overrides() == folder.read_overrides(), "overrides"
    except (AssertionError, OSError, ValueError) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        tally.add("different", f"{label}: {place.line} {str(error)[:200]}")


def go_on(
    tally: Tally,
    whole: RunFolder,
    folder: RunFolder,
    label: str,
    arguments: tuple[str, ...] = BUSY,
) -> None:
    """Resume a run, or start it where nothing had begun; count what is not as it should be."""
    name = folder.path.name
    begun = folder.config.exists()
    if not begun and folder.path.exists():
        if left := [p.name for p in folder.path.iterdir() if not p.name.startswith(".")]:
            tally.add("lost", f"{label}: {left} without config.yaml")
        shutil.rmtree(folder.path)
    typed = [f"resume={name}"] if begun else [*arguments, f"hydra.run.dir={name}"]
    if tally.judge(run(folder.path.parent, *typed), label, codes=(0,)):
        same(tally, whole, folder, label)


def whole_run(where: Path) -> tuple[RunFolder, float]:
    """The uninterrupted run, and its seconds."""
    begin = time.perf_counter()
    end = run(where, *BUSY, "hydra.run.dir=whole")
    assert end.code == 0, end.said
    return RunFolder(where / "whole"), time.perf_counter() - begin


def random_kills(where: Path, count: int, seed: int = 0) -> Tally:
    """SIGKILL after a random part of the time that the run takes."""
    tally, draw = Tally("SIGKILL at a random time, then `resume=`"), random.Random(seed)
    whole, seconds = whole_run(where)
    for number in range(count):
        folder = RunFolder(where / f"killed{number}")
        child = Child(where, *BUSY, f"hydra.run.dir={folder.path.name}")
        time.sleep(draw.uniform(0.2, 1.0) * seconds)
        child.send(signal.SIGKILL)
        child.end()
        go_on(tally, whole, folder, f"kill {number}")
        shutil.rmtree(folder.path, ignore_errors=True)
        tally.done += 1
    return tally


def changes(where: Path) -> int:
    """How many times the run writes, syncs, renames, removes or makes a file."""
    counted = where / "counted"

    def before() -> None:
        library = ctypes.CDLL(os.environ[FAULTS])
        fault_at(0, COUNT)()
        leave = os._exit

        def write_count(code: int) -> None:
            counted.write_text(str(library.faults_seen()))
            leave(code)

        os._exit = write_count  # type: ignore[assignment]

    assert run(where, *BUSY, "hydra.run.dir=count", before=before).code == 0
    shutil.rmtree(where / "count")
    return int(counted.read_text())


def placed(where: Path, count: int, faults: tuple[int, ...], what: str) -> Tally:
    """A fault at ``count`` places, spread over all changes of files, then ``resume=``."""
    tally = Tally(what)
    whole, _ = whole_run(where)
    places = changes(where)
    for number in range(count):
        at, fault = 1 + number * places // count, faults[number % len(faults)]
        folder = RunFolder(where / f"placed{number}")
        end = run(where, *BUSY, f"hydra.run.dir={folder.path.name}", before=fault_at(at, fault))
        label = f"change {at} of {places}, fault {fault}"
        if fault == FULL:
            tally.judge(end, label, codes=(0, 1, 2))
            if end.code and len(end.said.strip().splitlines()) > 40:
                tally.add("lost", f"{label}: {end.said[-300:]}")
        go_on(tally, whole, folder, label)
        shutil.rmtree(folder.path, ignore_errors=True)
        tally.done += 1
    return tally


def placed_kills(where: Path, count: int) -> Tally:
    """SIGKILL before a change of a file, or in the middle of a write."""
    return placed(
        where, count, (KILL, TEAR), "SIGKILL at a write, in its middle, at a sync, rename"
    )


def full_disks(where: Path, count: int) -> Tally:
    """From some write on there is no space; once there is, the run goes on."""
    return placed(where, count, (FULL,), "disk full from a write on, then space and `resume=`")
