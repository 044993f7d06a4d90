"""What every task is to ``run.py``."""

from typing import NamedTuple, Protocol

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.records.run_folder import RunFolder


class End(NamedTuple):
    """How a task came to its end. ``score``: of the run, None where it has none. ``reason``: why it
    ended before it was complete, as it was told to; empty where it is."""

    score: float | None
    reason: str = ""


class Task(Protocol):
    """What a run does. Making one changes nothing in the folder."""

    def __init__(self, config: Config, folder: RunFolder) -> None:
        """Raises ``UserError`` where data, device or checkpoint cannot be had."""

    def run(self, display: Display) -> End:
        """Do it."""


class OverModel(Task, Protocol):
    """A task that takes all from a checkpoint, and reads no data set."""

    def show_header(self, display: Display) -> None:
        """Print what it works with."""
