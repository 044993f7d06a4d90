"""The observer that writes the CSV files of a training."""

from collections.abc import Sequence
from typing import ClassVar

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.learn.observer import Further, Observer, Row, TrainingFacts
from node_cli.learn.recorded import recorded
from node_cli.records.columns import EPOCHS, EVALUATIONS, STEPS, Record
from node_cli.records.files import CsvLog
from node_cli.records.progress import Progress
from node_cli.records.run_folder import RunFolder


class CsvFiles(Observer):
    """Appends each row to its file at once, and waits for the disk before a checkpoint."""

    required: ClassVar[bool] = True

    def __init__(self, config: Config, folder: RunFolder, display: Display) -> None:
        self.folder = folder
        self.config = config
        self.logs: dict[Record, CsvLog] = {}

    def start(self, facts: TrainingFacts) -> None:
        """Open the files; rows after the checkpoint are cut, all of them without one."""
        for record in (STEPS, EPOCHS, EVALUATIONS, *facts.further):
            path = self.folder.path / record.file
            columns = recorded(self.config, record)
            self.logs[record] = CsvLog(path, columns, facts.steps_done or -1)

    def step(self, progress: Progress, row: Row) -> None:
        self.logs[STEPS].append(row)

    def evaluation(self, rows: Sequence[Row], further: Further) -> None:
        for record, rows_of_it in {**further, EVALUATIONS: rows}.items():
            for row in rows_of_it:
                self.logs[record].append(row)

    def epoch(self, row: Row) -> None:
        self.logs[EPOCHS].append(row)

    def checkpoint(self) -> None:
        for log in self.logs.values():
            log.sync()

    def end(self) -> None:
        for log in self.logs.values():
            log.close()
