"""How far something long is: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from node_cli.display import Display
from node_cli.learn.observer import Seen

BAR = (10, 40)  # cells, on a terminal of 80 columns and on a wide one
WIDTH_FOR_MORE = 90  # columns
PLAIN_INTERVAL = 10.0  # seconds without a line


class Live:
    """A bar between two texts, the fields ``description`` and ``behind``; where it cannot be
    animated, plain lines."""

    def __init__(self, display: Display) -> None:
        self.display = display
        self.bar: Progress | None = None
        self.task = TaskID(0)

    @property
    def is_wide(self) -> bool:
        """Whether there is room for one more number."""
        return self.display.width is None or self.display.width >= WIDTH_FOR_MORE

    def start(self, total: int | None = None, done: int = 0, description: str = "") -> None:
        """Show the bar. ``total``: None where that is not known yet."""
        if not self.display.live:
            return
        least, most = BAR
        width = min(most, max(least, least + (self.display.width or 0) - WIDTH_FOR_MORE))
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=width),
            TextColumn("{task.fields[behind]}", markup=False),
            TimeRemainingColumn(),
            console=self.display.console,
            transient=True,
        )
        self.task = self.bar.add_task(description, total=total, completed=done, behind="")
        self.bar.start()

    def show(self, plain: str, **fields: Any) -> None:
        """Change the ``fields`` of the bar; where there is none, print ``plain`` if nothing was
        printed for a while."""
        if self.bar:
            self.bar.update(self.task, **fields)
        elif self.display.silent_for > PLAIN_INTERVAL:
            self.display.line(f"  {plain}")

    def stop(self) -> None:
        """Take the bar away."""
        if self.bar:
            self.bar.stop()


@contextmanager
def counted(display: Display, doing: str) -> Iterator[Seen]:
    """Within it: what shows how much is done of some images.

    ``doing``: the word before the name of what is counted, a split or the like.
    """
    live = Live(display)

    def seen(split: str, done: int, images: int) -> None:
        words, count = f"{doing} {split}", f"{done:,} of {images:,}"
        live.show(
            f"{words}, {count}", description=words, completed=done, total=images, behind=count
        )

    live.start()
    try:
        yield seen
    finally:
        live.stop()
