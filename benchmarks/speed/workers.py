"""A process for each contender of ``training_step.py``, told by the parent when to train.

A process of its own gives each library the thread pools that it would have alone, set through the
environment before it is imported: torch's OpenMP threads spin for a while after their work, XLA's
pool counts the cores at start, and compiled code caches and ``torch._dynamo`` settings are global.
Idle workers wait for the pipe and have given their free memory back. On Linux a worker is also
bound to as many cores as it has threads, since XLA and the compilers of torch look at those.
"""

import contextlib
import ctypes
import importlib
import os
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from speed.contenders import Contender, Task

SPAWN = get_context("spawn")
# Each block begins with steps that are not timed: others have had the caches and cores since.
LEAD_IN = 2
COUNTED_STEPS = 4


@dataclass(frozen=True)
class Spec:
    """What a worker is to be; ``cache``: folder for compiled code, ``log``: its output, ``clock``:
    of blocks of steps, ``wall`` or ``cpu``."""

    contender: Contender
    task: Task
    threads: int
    cache: Path
    log: Path
    clock: str = "wall"

    def environment(self) -> dict[str, str]:
        n = str(self.threads)
        return {
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), n),
            "NPROC": n,  # XLA's pool
            "TORCHINDUCTOR_CACHE_DIR": str(self.cache / "inductor"),
            "NODE_TRAIN_CACHE": str(self.cache / "node-train"),
            "JAX_COMPILATION_CACHE_DIR": str(self.cache / "jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PLATFORMS": self.task.device,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }


class WorkerFailed(RuntimeError):
    """One line on what a worker could not do."""


class Worker:
    """The parent's side. ``first_step``: seconds from building the contender, its library already
    imported, to the end of its first training step. Raises ``WorkerFailed``."""

    def __init__(self, spec: Spec) -> None:
        self.connection, other = SPAWN.Pipe()
        self.process = SPAWN.Process(target=_serve, args=(other, spec), daemon=True)
        with _environment(spec.environment()):
            self.process.start()
        other.close()
        try:
            self.first_step: float = self._answer()
        except WorkerFailed:
            self.close()
            raise

    def warm_up(self, steps: int) -> float:
        """Train until ``steps`` steps are done; seconds a step over the last half."""
        return float(self._ask("warm_up", steps))

    def block(self, steps: int) -> float:
        """Train; seconds a step."""
        return float(self._ask("block", steps))

    def count(self) -> list[tuple[int, int, int | None]]:
        """Evaluations of f forward and backward, and VJPs or None, on each of the next batches."""
        return list(self._ask("count"))

    def losses(self) -> list[float]:
        return list(self._ask("losses"))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(("stop", ()))
        self.process.join(5)
        if self.process.is_alive():
            self.process.terminate()
        self.connection.close()

    def _ask(self, command: str, *arguments: Any) -> Any:
        try:
            self.connection.send((command, arguments))
        except OSError as error:
            raise WorkerFailed("its process has ended") from error
        return self._answer()

    def _answer(self) -> Any:
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError) as error:
            self.process.join(5)
            code = self.process.exitcode
            raise WorkerFailed(f"its process has ended with exit code {code}") from error
        if kind == "failed":
            raise WorkerFailed(value)
        return value


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(connection: Connection, spec: Spec) -> None:
    """The worker's side."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: spec.threads])
    with spec.log.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    warnings.simplefilter("default")
    try:
        module = importlib.import_module(spec.contender.module)
        clock = time.perf_counter if spec.clock == "wall" else _cpu
        start = clock()
        training = _Training(module.build(spec.task, **spec.contender.options), spec.clock)
        training.run(1)
        connection.send(("done", clock() - start))
        while True:
            command, arguments = connection.recv()
            if command == "stop":
                return
            connection.send(("done", getattr(training, command)(*arguments)))
    except (EOFError, KeyboardInterrupt):
        pass
    except Exception as error:
        import traceback

        traceback.print_exc()
        connection.send(("failed", _one_line(error)))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _cpu() -> float:
    """Seconds of CPU time of this process and of those it has waited for, such as compilers."""
    return sum(os.times()[:4])


def _one_line(error: Exception) -> str:
    problems = getattr(error, "problems", None)  # of a UserError
    lines = problems or [line for line in str(error).splitlines() if line.strip()]
    text = "; ".join(problems) if problems else (lines or [""])[0]
    return text if problems else f"{type(error).__name__}: {text}"


class _Training:
    """Steps of a contender, one batch after the other."""

    def __init__(self, contender: Any, clock: str) -> None:
        self.contender = contender
        self.clock = time.perf_counter if clock == "wall" else time.process_time
        self.steps = 0

    def run(self, steps: int) -> float:
        start = self.clock()
        for index in range(self.steps, self.steps + steps):
            self.contender.step(index)
        self.contender.wait()
        self.steps += steps
        return (self.clock() - start) / max(steps, 1)

    def warm_up(self, steps: int) -> float:
        left = max(steps - self.steps, 2)
        self.run(left - left // 2)
        seconds = self.run(left // 2)
        _trim()
        return seconds

    def block(self, steps: int) -> float:
        self.run(LEAD_IN)
        seconds = self.run(steps)
        _trim()
        return seconds

    def count(self) -> list[tuple[int, int, int | None]]:
        return [
            tuple(self.contender.count(index))
            for index in range(self.steps, self.steps + COUNTED_STEPS)
        ]

    def losses(self) -> list[float]:
        losses: list[float] = self.contender.losses()
        return losses


def _trim() -> None:
    """Thirty idle workers of the conv model would fill the memory of a small machine."""
    with contextlib.suppress(OSError, AttributeError):  # other systems than Linux with glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
