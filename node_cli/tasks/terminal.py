"""The observer that shows a training on standard output: progress within epochs, and a line at the
end of each, in the form of the published tutorials."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.learn.observer import Further, Observer, Row, TrainingFacts
from node_cli.ode.engines.compiled.function import WATCHERS
from node_cli.records.measures import unit
from node_cli.records.progress import Progress
from node_cli.records.run_folder import RunFolder
from node_cli.records.splits import averaged_split
from node_cli.records.units import Value
from node_cli.tasks.live import Live


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
        self.live = Live(display)
        self.epochs = config.epochs
        self.batches_per_epoch = 0

    def start(self, facts: TrainingFacts) -> None:
        self.batches_per_epoch = facts.batches_per_epoch
        total, done = self.epochs * facts.batches_per_epoch, facts.steps_done
        self.live.start(total, done, self._epoch(done // facts.batches_per_epoch + 1))
        WATCHERS.append(self.compiling)

    @contextmanager
    def compiling(self, what: str) -> Iterator[None]:
        """Say what is compiled, and for how long."""
        since = _Since(f"compiling {what} ...")
        if self.live.bar:
            self.live.show(since.words, behind=since)
        else:
            self.display.line(f"  {since.words}")
        yield
        self.display.line(f"  compiled {what} in {since.seconds:.1f} s")

    def step(self, progress: Progress, row: Row) -> None:
        numbers = _numbers(progress, row, with_speed=self.live.is_wide)
        if row["loss"] is None:
            self.display.line(f"  step {progress.step}: {numbers}")
        epoch = progress.current_epoch
        place = f"epoch {epoch}, step {progress.sums.batches}/{self.batches_per_epoch}"
        self.live.show(
            f"{place}  {numbers}",
            description=self._epoch(epoch),
            completed=progress.step,
            behind=numbers,
        )

    def evaluating(self, split: str, done: int, images: int) -> None:
        words = f"evaluating {split}, {done:,} of {images:,}"
        self.live.show(words, behind=words)

    def evaluation(self, rows: Sequence[Row], further: Further) -> None:
        for row in rows:
            if row["unsolved"]:
                self.display.line(
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
        self.display.line(
            "  ".join(parts) + _nfe(row["nfe_forward_mean"], row["nfe_backward_mean"])
        )

    def end(self) -> None:
        WATCHERS.remove(self.compiling)
        self.live.stop()

    def _epoch(self, number: int) -> str:
        return f"epoch {number}/{self.epochs}"


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
