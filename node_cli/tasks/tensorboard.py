"""The observer that writes the event files of TensorBoard (the extra ``tensorboard``)."""

import time
from typing import Any, ClassVar

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.learn.observer import TrainingFacts
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.points import OfPoints, Points


class TensorBoard(OfPoints):
    """Writes the points of every row into the folder ``tensorboard`` of the run, at its step.

    A resume starts a file that tells TensorBoard to forget what the ones before have after the
    checkpoint. Cost: some hundredths of a millisecond for each number of a step.
    """

    package: ClassVar[str] = "tensorboard"

    def __init__(self, config: Config, folder: RunFolder, display: Display) -> None:
        self.folder = folder.path / "tensorboard"
        self.writer: Any = None

    def start(self, facts: TrainingFacts) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(self.folder))
        self._event(facts.steps_done + 1, session_log=SessionLog(status=SessionLog.START))

    def add(self, step: int, points: Points) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in points.items()]
        self._event(step, summary=Summary(value=values))

    def checkpoint(self) -> None:
        self.writer.flush()

    def end(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def _event(self, step: int, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, **content))
