"""The observer that writes the event files of TensorBoard (the extra ``tensorboard``)."""

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.learn.observer import Further, Observer, Row, TrainingFacts
from node_cli.records.progress import Progress
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.points import Points, of_epoch, of_evaluation, of_step


class TensorBoard(Observer):
    """Writes the points of every row into the folder ``tensorboard`` of the run, at its step.

    A resume starts a file that tells TensorBoard to forget what the ones before have after the
    checkpoint. Cost: some hundredths of a millisecond for each number of a step.
    """

    required: ClassVar[bool] = False
    package: ClassVar[str] = "tensorboard"

    def __init__(self, config: Config, folder: RunFolder, display: Display) -> None:
        self.folder = folder.path / "tensorboard"
        self.writer: Any = None

    def start(self, facts: TrainingFacts) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(self.folder))
        self._add(facts.steps_done + 1, session_log=SessionLog(status=SessionLog.START))

    def step(self, progress: Progress, row: Row) -> None:
        self._write(row, of_step(row))

    def evaluation(self, rows: Sequence[Row], further: Further) -> None:
        for row in rows:
            self._write(row, of_evaluation(row))

    def epoch(self, row: Row) -> None:
        self._write(row, of_epoch(row))

    def checkpoint(self) -> None:
        self.writer.flush()

    def end(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def _write(self, row: Row, points: Points) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in points.items()]
        self._add(row["step"], summary=Summary(value=values))

    def _add(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, **content))
