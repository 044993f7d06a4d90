"""What a run shows: a header, progress while it trains, a line for each epoch, errors."""

import os
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich import progress as bars
from rich.console import Console

from node_cli.records.progress import Progress

PLAIN_INTERVAL = 10.0  # seconds between progress lines where there is no terminal


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Whoever was reading has gone; the run goes on in silence (rich would exit)."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Display:
    """Prints to standard output; a live progress bar on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.console = _Console(highlight=False, markup=False, soft_wrap=True)
        self.live = self.console.is_terminal and not os.environ.get("CI")

    def line(self, text: str = "") -> None:
        self.console.print(text)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Aligned ``name  value`` lines."""
        width = max(map(len, facts))
        for name, value in facts.items():
            self.line(f"{name:<{width}}  {value}")


class TrainingDisplay:
    """Progress within epochs, and a line at the end of each, in the shape of the tutorials."""

    def __init__(self, display: Display, epochs: int, batches_per_epoch: int, done: int) -> None:
        self.display = display
        self.epochs = epochs
        self.batches_per_epoch = batches_per_epoch
        self.last_line = time.monotonic()
        self.bar: bars.Progress | None = None
        self.task = bars.TaskID(0)
        if display.live:
            self.bar = bars.Progress(
                bars.TextColumn("epoch {task.fields[epoch]}/" + str(epochs)),
                bars.BarColumn(bar_width=10),
                bars.TextColumn("{task.fields[numbers]}"),
                bars.TimeRemainingColumn(),
                console=display.console,
                transient=True,
            )
            self.task = self.bar.add_task(
                "train", total=epochs * batches_per_epoch, completed=done, epoch=1, numbers=""
            )

    def __enter__(self) -> "TrainingDisplay":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar:
            self.bar.stop()

    def step(self, progress: Progress, row: Mapping[str, Any]) -> None:
        sums = progress.sums
        if row["loss"] is None:
            numbers = "batch left out, its solve failed"
            self._line(f"  step {progress.step}: {numbers}")
        else:
            nfe = _nfe(row["nfe_forward"], row["nfe_backward"])
            if sums.accuracy is None:
                numbers = f"loss {row['loss']:.3g}{nfe}"
            else:
                numbers = (
                    f"loss {row['loss']:.3f}  accuracy {sums.accuracy:.1%}{nfe}"
                    f"  {sums.images / sums.seconds:,.0f} img/s"
                )
        if self.bar:
            self.bar.update(
                self.task, completed=progress.step, epoch=progress.current_epoch, numbers=numbers
            )
        elif time.monotonic() - self.last_line > PLAIN_INTERVAL:
            self._line(
                f"  epoch {progress.current_epoch}, step {sums.batches}/{self.batches_per_epoch}  "
                f"{numbers}"
            )

    def epoch(self, row: Mapping[str, Any]) -> None:
        splits = {"Training": "train", "Holdout": "holdout", "Test": "test"}
        shown = {
            f"{words} Accuracy": f"{value:.2%}"
            for words, split in splits.items()
            if (value := row[f"{split}_accuracy"]) is not None
        } or {
            f"{words} Loss": f"{value:.4g}"
            for words, split in splits.items()
            if (value := row[f"{split}_loss"]) is not None
        }
        parts = [f"[{row['epoch']}/{self.epochs}]", f"Time {row['seconds']:.2f}s"]
        parts += [f"{words}: {value}" for words, value in shown.items()]
        self._line("  ".join(parts) + _nfe(row["nfe_forward_mean"], row["nfe_backward_mean"]))

    def _line(self, text: str) -> None:
        self.last_line = time.monotonic()
        self.display.line(text)


def _nfe(forward: float | None, backward: float | None) -> str:
    """Evaluations of f per batch, forward + backward; nothing for a core without an ODE."""
    return "" if forward is None else f"  NFE {forward:.4g} + {backward:.4g}"
