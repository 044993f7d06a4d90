"""The observer that prints a JSON object for each epoch, and while something is compiled:
``--json``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from node_cli.config.schema import Config
from node_cli.display import Display, tell
from node_cli.learn.observer import Observer, Row, TrainingFacts
from node_cli.ode.engines.compiled.function import WATCHERS
from node_cli.records.run_folder import RunFolder


class JsonLines(Observer):
    """Prints the row of epochs.csv of each epoch, and the folder that it belongs to."""

    required: ClassVar[bool] = False

    def __init__(self, config: Config, folder: RunFolder, display: Display) -> None:
        self.folder = folder

    def start(self, facts: TrainingFacts) -> None:
        WATCHERS.append(self.compiling)

    @contextmanager
    def compiling(self, what: str) -> Iterator[None]:
        """Tell what is compiled, before that begins."""
        tell("compiling", folder=str(self.folder.path), what=what)
        yield

    def epoch(self, row: Row) -> None:
        tell("epoch", folder=str(self.folder.path), **row)

    def end(self) -> None:
        WATCHERS.remove(self.compiling)
