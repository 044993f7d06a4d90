"""Copies of this process that run a command, and what became of them."""

import ctypes
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from node_cli.cli import jobs
from node_cli.cli.main import main
from tests.commands import in_a_fork

PATIENCE = 900.0
"""Seconds after which a command hangs, on a machine that has other work to do, too."""

FAULTS = "NODE_TRAIN_FAULTS"  # the library of faults.c, once it is loaded
COUNT, KILL, TEAR, FULL = range(4)

KINDS = ("lost", "tracebacks", "hung", "different")


@dataclass
class Tally:
    """How often a thing was done, and each time that it went wrong: its kind and what was seen."""

    what: str
    done: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""

    def add(self, kind: str, seen: str) -> None:
        """Count what went wrong."""
        assert kind in KINDS
        self.wrong.append((kind, seen))
        print(f"{kind}: {self.what}: {seen}", file=sys.stderr, flush=True)

    def judge(self, end: "End", label: str, codes: tuple[int, ...] = (0, 1, 2)) -> bool:
        """Count an end that no command may have; return whether it was a good one."""
        if end.hung:
            self.add("hung", label)
        elif "Traceback" in end.said:
            self.add("tracebacks", f"{label}: {end.said.strip().splitlines()[-1]}")
        elif end.code not in codes:
            self.add("lost", f"{label}: exit code {end.code}: {end.said.strip()[-300:]}")
        else:
            return True
        return False

    def row(self) -> str:
        """Return its row of the table in docs/reliability.md."""
        counts = Counter(kind for kind, _ in self.wrong)
        cells = [self.what + self.note, f"{self.done:,}", *(str(counts[kind]) for kind in KINDS)]
        return f"| {' | '.join(cells)} |"


@dataclass(frozen=True)
class End:
    """How a command ended: exit code (negative: by that signal), what it printed."""

    code: int
    said: str
    hung: bool = False


class Child:
    """A command line in a copy of this process, started in a folder."""

    def __init__(
        self, folder: Path, *arguments: str, before: Callable[[], object] = lambda: None
    ) -> None:
        self.said = folder / f".said{os.urandom(4).hex()}"

        def command() -> int:
            os.setpgid(0, 0)
            os.chdir(folder)
            sys.argv = ["node-train", *arguments]
            before()
            return main()

        self.pid = in_a_fork(command, self.said)

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def end(self, patience: float = PATIENCE) -> End:
        """Wait for its end; one that hangs is killed."""
        deadline, hung = time.monotonic() + patience, False
        while not (done := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline and not hung:
                hung = True
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        said = self.said.read_text(errors="replace") if self.said.exists() else ""
        self.said.unlink(missing_ok=True)
        return End(os.waitstatus_to_exitcode(done[1]), said, hung)


def run(folder: Path, *arguments: str, before: Callable[[], object] = lambda: None) -> End:
    """Run a command line in a copy of this process, to its end."""
    return Child(folder, *arguments, before=before).end()


def warmed(folder: Path) -> None:
    """Load in this process what a run loads, so that its copies need not; plots, which take half
    of a short run and hold nothing that is resumed, are left out of the copies."""
    assert run_here(folder, "data.limit=60", "epochs=1", "hydra.run.dir=warm") == 0
    shutil.rmtree(folder / "warm")
    jobs.plot_run = lambda folder: None


def run_here(folder: Path, *arguments: str) -> int:
    """Run a command line in this process, its output thrown away."""
    before, argv = Path.cwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["node-train", *arguments]
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            return main()
    finally:
        os.chdir(before)
        sys.argv = argv


def fault_at(number: int, fault: int) -> Callable[[], None]:
    """What a child calls to meet a fault at its n-th change of a file."""
    library = ctypes.CDLL(os.environ[FAULTS])
    return lambda: library.fault_at(ctypes.c_long(number), fault)


def can_fault() -> bool:
    """Whether this process has the environment of ``faults_built``."""
    return FAULTS in os.environ


@contextmanager
def faults_built(folder: Path) -> Iterator[dict[str, str] | None]:
    """Give the environment in which a new process ``can_fault``; None without a C compiler."""
    compiler, library = shutil.which("cc"), folder / "faults.so"
    if compiler is None or sys.platform != "linux":
        yield None
        return
    source = str(Path(__file__).with_name("faults.c"))
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), source, "-ldl"], check=True)
    yield {**os.environ, "LD_PRELOAD": str(library), FAULTS: str(library)}
