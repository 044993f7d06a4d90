"""A line for each job of a sweep that ends, and what is still to come."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from node_cli.cli.compose import Job
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

    def __init__(self, sweep: Path, jobs: Sequence[Job]) -> None:
        self.folders = [RunFolder(sweep / str(number)) for number in range(len(jobs))]
        self.before = [folder.read_status() for folder in self.folders]
        self.open = [n for n, status in enumerate(self.before) if status.get("status") != "done"]
        self.begun = time.monotonic()
        self.ended_here = self.failed = 0
        common = set.intersection(*({*job.overrides} for job in jobs)) if len(jobs) > 1 else set()
        self.names = [" ".join(o for o in job.overrides if o not in common) for job in jobs]

    def announcement(self, number: int) -> str:
        """A line for a job that begins now."""
        return f"job {number} ({number + 1}/{len(self.names)}): {self.names[number]}"

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
        count, left = len(self.names), len(self.open)
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
