"""A line for each job of a sweep that ends, and what is still to come."""

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from node_cli.cli.command import Job
from node_cli.cli.overrides import key_of
from node_cli.display import Display
from node_cli.records.measures import unit
from node_cli.records.run_folder import RunFolder

PAUSE = 0.5
"""Seconds between two looks at jobs that run in other processes."""

ENDED = ("done", "failed", "diverged", "interrupted")
TOLD = ("test_accuracy", "holdout_accuracy", "train_accuracy", "test_loss", "train_loss")
"""The figures of a finished job, of which the first that it has is told."""


class JobLines:
    """Tells the end of jobs, from their files: they may run in other processes."""

    def __init__(
        self,
        sweep: Path,
        jobs: Sequence[Job],
        first: int = 0,
        count: int | None = None,
        keys: Collection[str] = (),
    ) -> None:
        """``first``: the number of the first job, where there are ``count`` in all. ``keys``: those
        that tell them apart, by default those that do not have the same value in all."""
        self.first, self.count = first, count or len(jobs)
        self.folders = {n: RunFolder(sweep / str(n)) for n in range(first, first + len(jobs))}
        self.before = {n: folder.read_status() for n, folder in self.folders.items()}
        self.open = [n for n, status in self.before.items() if status.get("status") != "done"]
        self.begun = time.monotonic()
        self.ended_here = self.failed = 0
        common = set.intersection(*({*job.overrides} for job in jobs)) if len(jobs) > 1 else set()
        told = (
            [o for o in job.overrides if (key_of(o) in keys if keys else o not in common)]
            for job in jobs
        )
        self.names = dict(zip(self.folders, map(" ".join, told), strict=True))

    def announcement(self, number: int) -> str:
        """A line for a job that begins now."""
        return f"job {number} ({number + 1}/{self.count}): {self.names[number]}"

    def look(self) -> None:
        """Print a line for each job that has ended since the last look."""
        for number in [*self.open]:
            status = self.folders[number].read_status()
            if status.get("status") in ENDED and status != self.before[number]:
                self.open.remove(number)
                self.ended_here += 1
                self.failed += status["status"] in ("failed", "diverged")
                Display().line(self._line(number, status["status"], status.get("reason", "")))

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look again and again while others run the jobs."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(PAUSE):
                self.look()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.look()

    def _line(self, number: int, status: str, reason: str) -> str:
        count = self.count
        left = count - self.first - len(self.folders) + len(self.open)
        running = sum(self.folders[n].standing() == "running" for n in self.open)
        parts = [f"{running} running"] * (running > 0) + [f"{self.failed} failed"]
        if left:
            seconds = (time.monotonic() - self.begun) / self.ended_here * left
            parts.append(f"{timedelta(seconds=round(seconds))} left")
        words = f"{count - left}/{count}  job {number} {status}: {self.names[number]}"
        told = self._figure(number) if status == "done" else reason
        return "  ".join([words, *([told] if told else []), f"({', '.join(parts)})"])

    def _figure(self, number: int) -> str:
        metrics = self.folders[number].read_result().get("metrics")
        values = metrics if isinstance(metrics, dict) else {}
        name = next((name for name in TOLD if values.get(name) is not None), None)
        if name is None:
            return ""
        return f"{name.replace('_', ' ').title()}: {unit(name).on_terminal(values[name])}"
