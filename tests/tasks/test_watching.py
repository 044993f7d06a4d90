"""TensorBoard and MLflow get the rows of the CSV files, each once. They need extras."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.records.run_folder import RunFolder
from node_cli.tasks import observers
from node_cli.tasks.run import execute
from tests.folders import TIMES_AND_MEMORY, assert_same_run, rows
from tests.packages import Installer
from tests.runs import Killed, go_on, run

Configure = Callable[..., Config]
SMALL = ["data.limit=200", "batch_size=64", "epochs=2", "eval.every_steps=2"]  # 3 steps an epoch


def points(folder: RunFolder) -> dict[str, list[tuple[int, float]]]:
    """What the CSV files have, by the names that the points have."""
    found: dict[str, list[tuple[int, float]]] = {}

    def add(group: str, row: Mapping[str, str]) -> None:
        for column, cell in row.items():
            if cell and column not in ("step", "epoch", "split"):
                point = int(row["step"]), pytest.approx(float(cell), rel=1e-6)
                found.setdefault(f"{group}/{column}", []).append(point)  # type: ignore[arg-type]

    for group in ("steps", "epochs"):
        for row in rows(folder.path / f"{group}.csv"):
            add(group, row)
    for row in rows(folder.evaluations):
        add(f"evaluations/{row['split']}", row)
    return found


def of_tensorboard(folder: RunFolder) -> dict[str, Any]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder.path / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {n: [(e.step, e.value) for e in events.Scalars(n)] for n in events.Tags()["scalars"]}


def of_mlflow(folder: RunFolder) -> dict[str, Any]:
    from mlflow.tracking import MlflowClient

    from node_cli.records.files import read_json

    said = read_json(folder.path / "mlflow.json")
    client = MlflowClient(said["tracking_uri"])
    data = client.get_run(said["run_id"]).data
    assert data.params["batch_size"] == "64"
    history = {name: client.get_metric_history(said["run_id"], name) for name in data.metrics}
    return {name: [(m.step, m.value) for m in metrics] for name, metrics in history.items()}


def without_times(found: dict[str, Any]) -> dict[str, Any]:
    """Steps that were made again took other times."""
    return {n: p for n, p in found.items() if n.rpartition("/")[2] not in TIMES_AND_MEMORY}


READ = {
    "tensorboard": of_tensorboard,
    "mlflow": of_mlflow,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # SQLAlchemy, of MLflow
@pytest.mark.parametrize("name", ["tensorboard", pytest.param("mlflow", marks=pytest.mark.slow)])
def test_each_point_is_there_once_after_a_kill_and_a_resume(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Killed after two steps whose points were written, and whose checkpoint was not."""
    pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    kind = observers.kind_of(name)
    config = configure(*SMALL, f"observers=[{name}]")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    step, count = kind.step, iter(range(1, 9))

    def dies(self: Any, *given: Any) -> None:
        step(self, *given)
        if next(count) == 5:
            self.checkpoint()
            raise Killed

    monkeypatch.setattr(kind, "step", dies)
    with pytest.raises(Killed):
        execute(config, folder, [])
    monkeypatch.setattr(kind, "step", step)
    go_on(folder)
    assert without_times(READ[name](folder)) == without_times(points(folder))
    go_on(folder, epochs=3)
    assert without_times(READ[name](folder)) == without_times(points(folder))
    assert len(points(folder)["steps/loss"]) == 9
    whole = run(configure(*SMALL, "epochs=3"), tmp_path / "whole")
    assert_same_run(whole, folder, besides=("observers",))


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_package_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(observers, "find_spec", lambda _: None)
    with pytest.raises(UserError) as caught:
        observers.kind_of(name)
    assert caught.value.problems == (
        f"observers={name}: needs {name}; pip install 'node-train[{name}]'",
    )


def test_the_observer_of_the_documentation(
    configure: Configure, tmp_path: Path, install: Installer, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "own_parts.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?class BestSoFar.*?)```", page, re.DOTALL)
    assert code.count("\n") <= 15
    entries = {"observers": {"best": "own_parts.observer:BestSoFar"}}
    install(files={"observer.py": code}, entries=entries)
    folder = run(configure(*SMALL, "observers=[terminal,best]"), tmp_path / "run")
    assert "best so far: " in capsys.readouterr().out
    assert folder.epochs.exists()
