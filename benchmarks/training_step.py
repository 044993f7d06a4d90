"""Milliseconds per training step: ours, the peers', and the floor, in one run.

    python benchmarks/training_step.py

trains the ``dense`` and the ``conv`` model on MNIST (batch 128, dopri5, Adam, t in [0, 1]) with
every contender of ``speed/contenders.py``: each in a process of its own (``speed/workers.py`` says
why), all from the same weights on the same batches. After the warm-up they train in turn, a block
of steps each round, in an order that is shuffled anew in each round. Tables and plot go to
``--out``.

    pip install -e ".[benchmarks]"

installs the peers. With ``--device cuda`` diffrax needs ``pip install "jax[cuda13]"``.

What the columns count. *ms*: median and range over the rounds; a block is timed after one step
that is not, ends when all is computed, and reads no loss. *ratio*: of a block to the reference's
block of the same round, median and range. The floor that ratios refer to is the faster of the two.
*NFE*: evaluations of f in a training step, each contender counting by its own means, outside the
timing; the mean over four batches after the warm-up and four at the end. *First step*: seconds from
building the contender, libraries imported, to the end of its first training step; of compiled
contenders with an empty and with a filled cache of compiled code. *Loss*: of the first step, and
means over the last ten steps of the warm-up and of as many steps as everyone has done.
"""

import argparse
import random
import shlex
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from speed.contenders import FLOORS, MEASURE_OF_FLOOR, Contender, Task, chosen
from speed.measured import Result
from speed.workers import Spec, Worker, WorkerFailed

BLOCK_SECONDS = 0.3
TABLE_WIDTH = 150  # also where the output is a file
HERE = Path(__file__).parent


def main() -> None:
    arguments = parsed()
    # Late, so that workers, which import this file, set their threads first.
    from speed.header import header
    from speed.report import print_table, report
    from speed.task import prepare

    console = Console(width=max(Console().width, TABLE_WIDTH))
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="training_step_") as scratch:
        data = Path(scratch) / "batches.npz"
        words = prepare(arguments.root, arguments.seed, data)
        facts = header(arguments.device) | {
            "data": words,
            "measured": f"{arguments.clock} time, tol {arguments.tol:g}, {arguments.warmup} steps "
            f"of warm-up, {arguments.rounds} rounds, seed {arguments.seed}",
            "command": shlex.join(["python", *sys.argv]),
        }
        for name, fact in facts.items():
            console.print(f"{name:<10} {fact}", highlight=False, soft_wrap=True)
        for model in arguments.model:
            for threads in arguments.threads:
                task = Task(model, arguments.tol, arguments.seed, arguments.device, data)
                results += Race(arguments, task, threads, Path(scratch), console).run()
                # After each, so that an interrupted run leaves what it has.
                report(results, facts, arguments.warmup, arguments.out)
    print_table(results, arguments.warmup, console)
    console.print(f"written to {arguments.out}")


class Race:
    """All contenders on one model with one number of threads."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        task: Task,
        threads: int,
        scratch: Path,
        console: Console,
    ) -> None:
        self.arguments = arguments
        self.task = task
        self.threads = threads
        self.scratch = scratch
        self.console = console
        self.workers: dict[str, Worker] = {}
        self.results: dict[str, Result] = {}
        self.steps: dict[str, int] = {}

    def run(self) -> list[Result]:
        contenders = chosen(self.arguments.only)
        try:
            if any(c.name in FLOORS for c in contenders):
                self._measure_of_floor(contenders)
            for contender in contenders:
                self._start(contender)
            for number in range(self.arguments.rounds):
                self._round(number)
            for name in [*self.workers]:
                with self._failing(name):
                    result, worker = self.results[name], self.workers[name]
                    result.losses = worker.losses()
                    result.evaluations += worker.count()
        finally:
            for worker in self.workers.values():
                worker.close()
        return [self.results[c.name] for c in contenders]

    def _measure_of_floor(self, contenders: list[Contender]) -> None:
        """The floors have the evaluations and VJPs of our discrete gradient."""
        (measure,) = chosen([MEASURE_OF_FLOOR])
        self._start(measure)
        evaluations = self.results[measure.name].evaluations
        if evaluations:
            forward, _, vjps = zip(*evaluations, strict=True)
            self.task = replace(
                self.task,
                evaluations=round(statistics.mean(forward)),
                vjps=round(statistics.mean(vjps)),
            )
        if measure not in contenders and measure.name in self.workers:
            self.workers.pop(measure.name).close()

    def _start(self, contender: Contender) -> None:
        """Build, warm up, count; a compiled contender is started twice for its first step."""
        if contender.name in self.results:
            return
        model, threads = self.task.model, self.threads
        self.results[contender.name] = result = Result(contender, model, threads)
        slug = f"{model}-{threads}-{contender.name}"
        logs = self.arguments.out / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        log = logs / f"{slug}.log"
        log.unlink(missing_ok=True)
        cache = (self.arguments.cache or self.scratch) / slug
        spec = Spec(contender, self.task, threads, cache, log, self.arguments.clock)
        with self._failing(contender.name):
            self.workers[contender.name] = worker = Worker(spec)
            result.first_step = worker.first_step
            if contender.compiled:
                again = Worker(spec)
                result.first_step_again = again.first_step
                again.close()
            seconds = worker.warm_up(self.arguments.warmup)
            self.steps[contender.name] = max(1, round(BLOCK_SECONDS / seconds))
            result.evaluations += worker.count()
            self._say(
                f"{contender.name:<36} first step {result.first_step:6.2f} s, "
                f"then {1e3 * seconds:8.2f} ms"
            )

    def _round(self, number: int) -> None:
        order = sorted(self.workers)
        random.Random(f"{self.arguments.seed} {number}").shuffle(order)
        for name in order:
            with self._failing(name):
                seconds = self.workers[name].block(self.steps[name])
                self.results[name].blocks[number] = seconds
        self._say(f"round {number + 1}/{self.arguments.rounds}")

    @contextmanager
    def _failing(self, name: str) -> Iterator[None]:
        """A contender that fails leaves the race and says why; the others go on."""
        try:
            yield
        except WorkerFailed as error:
            self.results[name].error = str(error)
            if worker := self.workers.pop(name, None):
                worker.close()
            self._say(f"{name:<36} not available: {error}")

    def _say(self, line: str) -> None:
        self.console.print(
            f"{self.task.model}, {self.threads} threads: {line}", highlight=False, soft_wrap=True
        )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=_list, default=["dense", "conv"], help="dense,conv")
    parser.add_argument("--threads", type=_integers, default=[1, 2], help="1,2")
    parser.add_argument("--tol", type=float, default=1e-3)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=50, help="training steps before the timing")
    parser.add_argument("--only", type=_list, default=["*"], help="names or patterns: ours-*,...")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--seed", type=int, default=0, help="weights, batches, order of blocks")
    root = HERE.parent.parent / "shared" / "data"
    parser.add_argument("--root", default=str(root), help="folder of MNIST (../shared/data)")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: of the process, where others use the machine; with one thread, on a CPU",
    )
    parser.add_argument("--cache", type=Path, help="keep compiled code in this folder")
    parser.add_argument("--out", type=Path, default=Path("outputs/benchmarks"))
    arguments = parser.parse_args()
    try:
        chosen(arguments.only)
    except ValueError as error:
        parser.error(str(error))
    if unknown := {*arguments.model} - {"dense", "conv"}:
        parser.error(f"--model {','.join(unknown)}: choose from dense,conv")
    return arguments


def _list(text: str) -> list[str]:
    return text.split(",")


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
