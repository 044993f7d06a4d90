"""The observer that shows a training on standard output: progress within epochs, and a line at the
end of each, in the form of the published tutorials."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.learn.observer import Further, Observer, Row, TrainingFacts
from node_cli.ode.engines.compiled.function import WATCHERS
from node_cli.records.measures import unit
from node_cli.records.progress import Progress
from node_cli.records.run_folder import RunFolder
from node_cli.records.splits import averaged_split
from node_cli.records.units import Value

BAR = (10, 40)  # cells, on a terminal of 80 columns and on a wide one
WIDTH_FOR_SPEED = 90  # columns
PLAIN_INTERVAL = 10.0  # seconds between progress lines where there is no terminal


class _Since:
    """Words, and the seconds since they were first said; a bar asks for them again and again."""

    def __init__(self, words: str) -> None:
        self.words = words
        self.begun = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def __str__(self) -> str:
        return f"{self.words} {self.seconds:.0f} s"


class Terminal(Observer):
    """Shows a bar with the newest numbers on a terminal; elsewhere a line now and then."""

    required: ClassVar[bool] = False

    def __init__(self, config: Config, folder: RunFolder, display: Display) -> None:
        self.display = display
        self.epochs = config.epochs
        self.batches_per_epoch = 0
        self.last_line = 0.0
        self.bar: Bar | None = None
        self.task = TaskID(0)

    def start(self, facts: TrainingFacts) -> None:
        self.batches_per_epoch = facts.batches_per_epoch
        self.last_line = time.monotonic()
        if self.display.live:
            self.bar = Bar(
                TextColumn("epoch {task.fields[epoch]}/" + str(self.epochs)),
                BarColumn(bar_width=self._bar_width()),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(),
                console=self.display.console,
                transient=True,
            )
            total, done = self.epochs * facts.batches_per_epoch, facts.steps_done
            self.task = self.bar.add_task("train", total=total, completed=done, epoch=1, numbers="")
            self.bar.start()
        WATCHERS.append(self.compiling)

    @contextmanager
    def compiling(self, what: str) -> Iterator[None]:
        """Say what is compiled, and for how long."""
        since = _Since(f"compiling {what} ...")
        if self.bar:
            self.bar.update(self.task, numbers=since)
        else:
            self._line(f"  {since.words}")
        yield
        self._line(f"  compiled {what} in {since.seconds:.1f} s")

    def step(self, progress: Progress, row: Row) -> None:
        with_speed = self.display.width is None or self.display.width >= WIDTH_FOR_SPEED
        numbers = _numbers(progress, row, with_speed=with_speed)
        if row["loss"] is None:
            self._line(f"  step {progress.step}: {numbers}")
        if self.bar:
            self.bar.update(
                self.task, completed=progress.step, epoch=progress.current_epoch, numbers=numbers
            )
        elif time.monotonic() - self.last_line > PLAIN_INTERVAL:
            place = f"step {progress.sums.batches}/{self.batches_per_epoch}"
            self._line(f"  epoch {progress.current_epoch}, {place}  {numbers}")

    def evaluating(self, split: str, done: int, images: int) -> None:
        words = f"evaluating {split}, {done:,} of {images:,}"
        if self.bar:
            self.bar.update(self.task, numbers=words)
        elif time.monotonic() - self.last_line > PLAIN_INTERVAL:
            self._line(f"  {words}")

    def evaluation(self, rows: Sequence[Row], further: Further) -> None:
        for row in rows:
            if row["unsolved"]:
                self._line(
                    f"  step {row['step']}: {row['split']}: {row['unsolved']:,} of "
                    f"{row['images']:,} could not be solved, they count as wrong"
                )

    def epoch(self, row: Row) -> None:
        parts = [f"[{row['epoch']}/{self.epochs}]", f"Time {_shown('seconds', row)}s"]
        for kind in ("accuracy", "loss"):
            splits = {"Training": "train", "Holdout": "holdout", "Test": "test"}
            splits |= {f"{words} EMA": averaged_split(s) for words, s in splits.items()}
            names = {words: f"{split}_{kind}" for words, split in splits.items()}
            there = {words: name for words, name in names.items() if row.get(name) is not None}
            parts += [f"{w} {kind.title()}: {_shown(name, row)}" for w, name in there.items()]
            if there:  # losses only where nothing is classified
                break
        self._line("  ".join(parts) + _nfe(row["nfe_forward_mean"], row["nfe_backward_mean"]))

    def end(self) -> None:
        WATCHERS.remove(self.compiling)
        if self.bar:
            self.bar.stop()

    def _bar_width(self) -> int:
        least, most = BAR
        return min(most, max(least, least + (self.display.width or 0) - WIDTH_FOR_SPEED))

    def _line(self, text: str) -> None:
        self.last_line = time.monotonic()
        self.display.line(text)


def _numbers(progress: Progress, row: Row, *, with_speed: bool) -> str:
    """The newest numbers, in few digits."""
    if row["loss"] is None:
        return "batch skipped, its solve failed"
    sums, nfe = progress.sums, _nfe(row["nfe_forward"], row["nfe_backward"])
    if (accuracy := sums.accuracy()) is None:
        return f"loss {row['loss']:.3g}{nfe}"
    speed = f"  {sums.images / sums.seconds:,.0f} img/s" * with_speed
    return f"loss {row['loss']:.3f}  accuracy {accuracy:.1%}{nfe}{speed}"


def _shown(name: str, row: Row) -> str:
    return unit(name).on_terminal(row[name])


def _nfe(forward: Value, backward: Value) -> str:
    """Evaluations of f per batch, forward + backward; nothing without an ODE."""
    if forward is None or backward is None:
        return ""
    of = unit("nfe_forward")
    return f"  NFE {of.on_terminal(forward)} + {of.on_terminal(backward)}"
