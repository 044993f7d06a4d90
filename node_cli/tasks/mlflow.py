"""The observer that sends a training to MLflow (the extra ``mlflow``)."""

import json
import os
import sys
import time
from typing import Any, ClassVar

from node_cli.config.messages import plain
from node_cli.config.schema import Config, keys
from node_cli.config.tree import get
from node_cli.display import Display
from node_cli.learn.observer import TrainingFacts
from node_cli.records.files import read_json, write_text
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.points import OfPoints, Points

EXPERIMENT = "node-train"
"""The experiment of MLflow's that runs belong to, where MLFLOW_EXPERIMENT_NAME names no other."""

AT_ONCE = 1000
"""Points in one message: as many as MLflow takes."""


class MlFlow(OfPoints):
    """Sends the points of every row, and the configuration as parameters, to where MLflow says
    (MLFLOW_TRACKING_URI; without it a file mlflow.db in the working directory).

    ``mlflow.json`` in the run folder says which run of MLflow's it is, and a resume goes on with
    that. Points are sent before each checkpoint; those that MLflow has already, since a process was
    killed before its checkpoint, are not sent twice.
    """

    package: ClassVar[str] = "mlflow"

    def __init__(self, config: Config, folder: RunFolder, display: Display) -> None:
        self.config, self.folder = config, folder
        self.file = folder.path / "mlflow.json"
        self.client: Any = None
        self.run = ""
        self.sent: dict[str, int] = {}  # the last step of each name
        self.waiting: list[Any] = []

    def start(self, facts: TrainingFacts) -> None:
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(tracking_uri=read_json(self.file).get("tracking_uri"))
        self.run = read_json(self.file).get("run_id", "")
        if self.run:
            self.client.update_run(self.run, status="RUNNING")
            for name in self.client.get_run(self.run).data.metrics:
                self.sent[name] = self.client.get_metric_history(self.run, name)[-1].step
        else:
            self.run = self._new_run()
            uri = self.client.tracking_uri
            write_text(self.file, json.dumps({"run_id": self.run, "tracking_uri": uri}) + "\n")

    def add(self, step: int, points: Points) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        for name, value in points.items():
            if step > self.sent.get(name, -1):
                self.waiting.append(Metric(name, value, now, step))

    def checkpoint(self) -> None:
        while self.waiting:
            self.client.log_batch(self.run, metrics=self.waiting[:AT_ONCE])
            del self.waiting[:AT_ONCE]

    def end(self) -> None:
        """Steps since the last checkpoint are not sent: a resume makes them again."""
        if self.run:  # called in passing where an exception ends the training
            self.client.set_terminated(self.run, "KILLED" if sys.exc_info()[0] else "FINISHED")

    def _new_run(self) -> str:
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        found = self.client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self.client.create_experiment(name)
        run = self.client.create_run(experiment, run_name=str(self.folder.path)).info.run_id
        tree = self.config.model_dump()
        values = {key: get(tree, key) for key in keys()}
        params = [Param(key, plain(value)) for key, value in values.items() if value is not None]
        for first in range(0, len(params), 100):  # as many as MLflow takes
            self.client.log_batch(run, params=params[first : first + 100])
        return str(run)
