"""Seconds of whole commands, as users run them: alone, and beside busy processes.

    python benchmarks/start.py

has three parts, which ``--only start,busy,models`` chooses from.

*start*: commands that answer without computing, median and range.

*busy*: the default run, whole commands, alone and beside one and two processes that do nothing but
spin, which are started and stopped here. Three variants: ``threads=auto``, the default;
``threads=1``; and all cores with the long waits that GNU's OpenMP has by itself, which is what the
command took before it chose either. Ratios are to ``threads=1`` of the same round.

*models*: milliseconds of a training step (median of steps.csv after the first three) in short runs
of each model on digits, under ``threads=auto``, 1 and as many as there are cores. Ratios are of
medians, to the faster of the two fixed numbers.

In each round the variants run one after the other, in an order that is shuffled anew. The load
average says how quiet the machine was: alone, one thread makes a load of 1.
"""

import argparse
import csv
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from node_cli.cli.waiting import USERS_OWN
from node_cli.machine.threads import usable
from speed.header import header

COMMAND = [sys.executable, "-m", "node_cli"]
SPIN = [sys.executable, "-c", "while True: pass"]
LONG_WAITS = {"GOMP_SPINCOUNT": "300000"}
AUTO, ONE = "threads=auto", "threads=1"
BATCH = 128
STEPS_AN_EPOCH = 10
LEAD_IN = 3
# Steps to train: some seconds each.
MODELS = {"dense": 200, "mlp": 400, "conv_dense": 60, "conv": 10, "odenet": 10, "resnet": 10}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parts = {"start": start, "busy": busy, "models": models}
    parser.add_argument("--only", default=",".join(parts), help="start,busy,models")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--busy", default="0,1,2", help="numbers of busy processes")
    parser.add_argument("--model", default=",".join(MODELS), help="dense,conv,...")
    arguments = parser.parse_args()
    for option, choices in (("only", parts), ("model", MODELS)):
        for wrong in {*getattr(arguments, option).split(",")} - choices.keys():
            parser.error(f"--{option} {wrong}: choose from {', '.join(choices)}")
    for name, fact in header("cpu").items():
        print(f"{name:<10} {fact}")
    print(f"{'measured':<10} {usable()} usable cores, {arguments.rounds} rounds")
    for name in arguments.only.split(","):
        parts[name](arguments)


def start(arguments: argparse.Namespace) -> None:
    variants = ("--version", "--help", "--cfg job")
    times: dict[str, list[float]] = {name: [] for name in variants}
    _title("command", "seconds")
    for name in _turns(variants, arguments.rounds):
        times[name].append(_seconds(name.split()))
    for name, values in times.items():
        _row(f"node-train {name}", _range(values))


def busy(arguments: argparse.Namespace) -> None:
    cores = f"threads={usable()}"
    variants: dict[str, tuple[str, Mapping[str, str]]] = {
        AUTO: (AUTO, {}),
        ONE: (ONE, {}),
        f"{cores}, long waits": (cores, LONG_WAITS),
    }
    for number in map(int, arguments.busy.split(",")):
        times: dict[str, list[float]] = {name: [] for name in variants}
        _title(f"node-train, {number} busy beside it", "seconds", f"of {ONE}")
        with _spinning(number):
            for name in _turns(variants, arguments.rounds):
                typed, environment = variants[name]
                times[name].append(_seconds([typed], environment))
        for name, values in times.items():
            ratios = [a / b for a, b in zip(values, times[ONE], strict=True)]
            _row(name, _range(values), _range(ratios))


def models(arguments: argparse.Namespace) -> None:
    variants = (AUTO, ONE, f"threads={usable()}")
    for model in arguments.model.split(","):
        times: dict[str, list[float]] = {name: [] for name in variants}
        _title(f"model={model}", "ms a step", "of the faster fixed one")
        for name in _turns(variants, arguments.rounds):
            milliseconds, used = _step(model, name)
            times[name].append(milliseconds)
            if name == AUTO:
                chosen = used
        best = min(median(values) for name, values in times.items() if name != AUTO)
        for name, values in times.items():
            words = f"{name} ({chosen})" if name == AUTO else name
            _row(words, _range(values), f"{median(values) / best:.2f}")


def _step(model: str, threads: str) -> tuple[float, str]:
    """Milliseconds of a training step; the device in words, with the number of threads."""
    epochs = MODELS[model] // STEPS_AN_EPOCH
    with tempfile.TemporaryDirectory(prefix="start_") as folder:
        out = _run(
            [
                *(f"model={model}", threads, f"epochs={epochs}", f"batch_size={BATCH}"),
                *("data.holdout=0", f"data.limit={BATCH * STEPS_AN_EPOCH}", "eval.test=end"),
                "hydra.run.dir=run",
            ],
            {},
            folder,
        )
        with Path(folder, "run", "steps.csv").open() as file:
            seconds = [float(row["seconds"]) for row in csv.DictReader(file)]
    device = next(line for line in out.splitlines() if line.startswith("device"))
    return 1e3 * median(seconds[LEAD_IN:]), device.partition("(")[2].partition(")")[0]


def _seconds(arguments: list[str], environment: Mapping[str, str] | None = None) -> float:
    with tempfile.TemporaryDirectory(prefix="start_") as folder:
        begin = time.perf_counter()
        _run(arguments, environment or {}, folder)
        return time.perf_counter() - begin


def _run(arguments: list[str], environment: Mapping[str, str], folder: str) -> str:
    """What the command prints; one that fails ends the benchmark."""
    own = {name: value for name, value in os.environ.items() if name not in USERS_OWN}
    own |= {"PYTHONPATH": str(Path(__file__).parents[1]), "CI": "true"}
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env={**own, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


@contextmanager
def _spinning(number: int) -> Iterator[None]:
    processes = [subprocess.Popen(SPIN) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _turns(names: Iterable[str], rounds: int) -> Iterator[str]:
    """Every name once a round, shuffled."""
    names, order = list(names), random.Random(0)
    for _ in range(rounds):
        yield from order.sample(names, len(names))


def _title(*cells: str) -> None:
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"\nload average {load}", flush=True)
    _row(*cells)


def _row(*cells: str) -> None:
    print("  ".join(f"{cell:<30}" for cell in cells).rstrip(), flush=True)


def _range(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
