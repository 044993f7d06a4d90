"""What every task is to ``run.py``."""

from typing import Protocol

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.records.run_folder import RunFolder


class Task(Protocol):
    """What a run does. Making one changes nothing in the folder."""

    def __init__(self, config: Config, folder: RunFolder) -> None:
        """Raises ``UserError`` where data, device or checkpoint cannot be had."""

    def run(self, display: Display) -> float | None:
        """Do it; return the score of the run, None where it has none."""
