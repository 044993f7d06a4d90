"""Reports read files only: old runs, unfinished runs, damaged last lines."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node_cli.records import sweep_folder
from node_cli.records.columns import EPOCHS, STEPS
from node_cli.records.files import read_csv
from node_cli.records.run_folder import RunFolder
from node_cli.report import sweep_plots
from node_cli.report.over_seeds import Setting
from node_cli.report.run_plots import _smoothed, plot_run
from node_cli.report.summary import add_row, as_text, summarise

CONFIG = {
    "seed": 0,
    "model": {"name": "dense"},
    "data": {"name": "digits"},
    "solver": None,
    "sensitivity": None,
}


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict[str, object]]) -> None:
    with path.open("w") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def job(sweep: Path, number: int, accuracy: float | None, status: str, *overrides: str) -> None:
    """The records of one job; without an accuracy it has not come to the end of an epoch."""
    folder = RunFolder(sweep / str(number))
    folder.path.mkdir(parents=True)
    folder.write_config(CONFIG)
    folder.write_status(status, overrides=overrides)
    write_csv(folder.steps, STEPS.columns, [{"step": 1, "loss": 2.3}, {"step": 2, "loss": 1.9}])
    epochs = [] if accuracy is None else [{"epoch": 1, "step": 2, "test_accuracy": accuracy}]
    write_csv(folder.epochs, EPOCHS.columns, epochs)
    if status == "done":
        folder.write_result({"seconds": 2.0, "metrics": {"test_accuracy": accuracy}})


def test_rows_mean_and_deviation(tmp_path: Path) -> None:
    job(tmp_path, 0, 0.90, "done", "epochs=1", "seed=0", "solver=rk4")
    job(tmp_path, 1, 0.94, "done", "epochs=1", "seed=1", "solver=rk4")
    job(tmp_path, 2, 0.80, "interrupted", "epochs=1", "seed=0", "solver=euler")
    job(tmp_path, 10, None, "running", "epochs=1", "seed=1", "solver=euler")
    job(tmp_path, 11, None, "running", "epochs=1", "seed=1", "solver=heun2")
    with RunFolder(tmp_path / "11").locked():  # by its process, as long as there is one
        rows = summarise(tmp_path)
    assert [(row["job"], row["status"], row["test_accuracy"]) for row in rows] == [
        ("0", "done", 0.90),
        ("1", "done", 0.94),
        ("2", "interrupted", 0.80),
        ("10", "lost", None),
        ("11", "running", None),
    ]
    text = as_text(rows)
    assert "epochs" not in text, "a key that does not vary is left out of the text"
    with (tmp_path / "summary.csv").open() as file:
        assert {row["epochs"] for row in csv.DictReader(file)} == {"1"}
    (spread,) = [line for line in text.splitlines() if line.startswith("|") and "±" in line]
    assert spread.split() == [
        *("|", "rk4", "|", "2", "|", "92.00%", "±", "2.83%", "|", "2", "±", "0", "|")
    ], "of finished jobs alone"


def test_counts_of_the_last_epoch_and_of_the_run(tmp_path: Path) -> None:
    """Where they differ, the table has both; summary.csv always."""
    for seed in (0, 1):
        job(tmp_path, seed, 0.9, "done", f"seed={seed}")
        folder = RunFolder(tmp_path / str(seed))
        counts = [{"step": s, "loss": 1, "nfe_forward": 10 * s} for s in (1, 2)]
        write_csv(folder.steps, STEPS.columns, counts)
        last = {"test_accuracy": 0.9, "nfe_forward_mean": 20 + seed, "nfe_eval_mean": 14}
        folder.write_result({"seconds": 2.0, "metrics": last})
    rows = summarise(tmp_path)
    assert [(row["nfe_forward_mean"], row["nfe_forward_run"]) for row in rows] == [
        *((20, 15), (21, 15))
    ]
    text = as_text(rows)
    assert "| NFE fwd " in text
    assert "In every row: NFE eval 14, NFE fwd, run 15." in text
    assert "| NFE eval" not in text.split("Mean ±")[0], "what is the same in every row is told once"
    assert "90.00%" in text.split("In every row")[0], "but not an accuracy"


@pytest.mark.parametrize("width", [40, 60, 80])
def test_tables_fit_the_terminal(tmp_path: Path, width: int) -> None:
    for number in range(4):
        job(tmp_path, number, 0.5 + number / 10, "done", f"solver.tol={number}", f"seed={number}")
    rows = summarise(tmp_path)
    lines = as_text(rows, width).splitlines()
    assert max(len(line) for line in lines if line.startswith("|")) <= width


def test_the_smoothed_loss_is_not_late() -> None:
    """A straight line stays where it is, to its ends, however short; noise is averaged."""
    for count in (1, 2, 30, 200):
        values = [3.0 - 0.01 * step for step in range(count)]
        assert _smoothed(values) == pytest.approx(values)
    assert _smoothed([1.0, 3.0] * 20)[20] == pytest.approx(2, abs=0.1)


def test_rows_that_were_added_one_by_one_are_those_of_the_whole(tmp_path: Path) -> None:
    """Also where jobs have other keys, where a job goes on, and after a torn line."""
    path = tmp_path / "summary.csv"
    for number, overrides in enumerate([["seed=0"], ["seed=1"], ["model=conv"], ["seed=2", "a=1"]]):
        job(tmp_path, number, 0.5 + number / 10, "done", *overrides)
        add_row(tmp_path, RunFolder(tmp_path / str(number)))
        added = path.read_text()
        summarise(tmp_path)
        assert added == path.read_text()
        if number == 1:
            path.write_text(added + "2,0.")
    RunFolder(tmp_path / "1").write_status("interrupted", overrides=["seed=1"])
    add_row(tmp_path, RunFolder(tmp_path / "1"))
    added = sorted(path.read_text().splitlines())
    summarise(tmp_path)
    assert added == sorted(path.read_text().splitlines())
    (tmp_path / "4").mkdir()
    add_row(tmp_path, RunFolder(tmp_path / "4"))  # it has not started
    assert added == sorted(path.read_text().splitlines())


def test_metrics_and_an_average_have_columns_where_a_job_has_them(tmp_path: Path) -> None:
    """After all others, also where the first job is without."""
    path = tmp_path / "summary.csv"
    for number, further in enumerate(({}, {"test_top_k": 0.99, "test_ema_accuracy": 0.91})):
        job(tmp_path, number, 0.9, "done", f"seed={number}")
        metrics = {"test_accuracy": 0.9, **further}
        RunFolder(tmp_path / str(number)).write_result({"seconds": 2.0, "metrics": metrics})
        add_row(tmp_path, RunFolder(tmp_path / str(number)))
        header = path.read_text().splitlines()[0]
        assert header.endswith("_run,test_ema_accuracy,test_top_k" if number else "_run")
    added = path.read_text()
    assert [row["test_top_k"] for row in read_csv(path)] == ["", "0.99"]
    table = as_text(summarise(tmp_path)).split("Mean ±")[0]
    assert path.read_text() == added
    (heading, _, first, second) = [line for line in table.splitlines() if line.startswith("|")]
    assert "| test acc, average | test top k |" in heading
    assert "99.00%" in second and "99.00%" not in first


def test_no_row_is_lost_where_jobs_end_together(tmp_path: Path) -> None:
    sweep_folder.write(tmp_path, sweep_folder.Typed([], None, None, "."))
    numbers = range(12)
    for number in numbers:
        job(tmp_path, number, 0.5, "done", f"seed={number}", *["a=1"] * (number % 2))
    with ThreadPoolExecutor(len(numbers)) as pool:
        list(pool.map(lambda n: add_row(tmp_path, RunFolder(tmp_path / str(n))), numbers))
    found = read_csv(tmp_path / "summary.csv")
    assert sorted(row["job"] for row in found) == sorted(map(str, numbers))


def test_one_job_and_no_job(tmp_path: Path) -> None:
    job(tmp_path, 0, 0.5, "done", "seed=0")
    assert "50.00%" in as_text(summarise(tmp_path))
    (tmp_path / "empty").mkdir()
    assert "No job" in as_text(summarise(tmp_path / "empty"))


def test_plots_of_an_unfinished_run_with_a_torn_line(tmp_path: Path) -> None:
    job(tmp_path, 0, None, "running", "seed=0")
    folder = RunFolder(tmp_path / "0")
    with folder.steps.open("a") as file:
        file.write("3,1,0.")
    plot_run(folder)
    assert [path.name for path in folder.plots.iterdir()] == ["loss.png"]
    assert (folder.plots / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_records_are_never_seen_half_written(tmp_path: Path) -> None:
    """While a file is replaced a reader sees the old one or the new one."""
    from node_cli.records.files import replacing

    path = tmp_path / "result.json"
    path.write_text(json.dumps({"old": 1}))
    with replacing(path) as temporary:
        temporary.write_text('{"new"')
        assert json.loads(path.read_text()) == {"old": 1}
        temporary.write_text('{"new": 2}')
    assert json.loads(path.read_text()) == {"new": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_one_tolerance_is_no_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(sweep_plots, "_plot_tolerance", lambda *given: drawn.append(given[2]))
    for other, keys in (("1e-3", []), ("1e-4", ["solver.tol"])):
        settings = [
            Setting({"solver.tol": "1e-3"}, ()),
            Setting({"solver.tol": other, "seed": "1"}, ()),
        ]
        sweep_plots.plot_sweep(tmp_path, settings)
        assert drawn == keys
