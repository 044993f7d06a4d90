"""Damaged records: one bad job costs its row in a report, and is noticed when a run goes on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node_cli.errors import UserError
from node_cli.records import sweep_folder
from node_cli.records.columns import EPOCHS, STEPS
from node_cli.records.damage import damage
from node_cli.records.files import write_csv
from node_cli.records.run_folder import RunFolder
from node_cli.records.sweep_folder import jobs_in
from node_cli.report.summary import as_text, summarise


def job(path: Path, *overrides: str) -> RunFolder:
    path.mkdir(parents=True)
    folder = RunFolder(path)
    folder.write_config({"epochs": 1})
    folder.write_status("done", overrides=overrides)
    write_csv(folder.steps, STEPS.columns, [{"step": n, "epoch": 1, "loss": 1.0} for n in (1, 2)])
    write_csv(folder.epochs, EPOCHS.columns, [{"epoch": 1, "step": 2, "test_accuracy": 0.5}])
    folder.write_result({"seconds": 1.0, "metrics": {"test_accuracy": 0.5, "train_loss": None}})
    return folder


HOSTILE: list[tuple[Callable[[RunFolder], object], str]] = [
    (lambda f: f.status.write_text("[" * 100_000), "status.json: damaged"),
    (lambda f: f.status.write_text("[1]"), "status.json: damaged"),
    (lambda f: f.result.write_text('{"seconds": 1' + "0" * 400 + "}"), "seconds: 1000"),
    (lambda f: f.result.write_text('{"metrics": {"train_loss": NaN}}'), "train_loss: nan"),
    (lambda f: f.result.write_text('{"metrics": {"test_accuracy": 1e400}}'), "test_accuracy: inf"),
    (lambda f: f.result.write_text('{"metrics": {"test_accuracy": [1]}}'), "test_accuracy: [1]"),
    (lambda f: f.result.write_text('{"metrics": 5}'), "metrics: must be an object"),
    (lambda f: f.result.write_text("{" + '"a":{' * 50_000), "result.json: damaged"),
    (lambda f: f.epochs.write_text("epoch,step\n" + "9" * 200_000 + ",1\n"), "field larger than"),
    (lambda f: f.epochs.write_text("epoch,step\n1,1\n"), "epochs.csv: no column"),
    (lambda f: f.steps.write_text(f.steps.read_text().replace("1.0", "x")), "loss: 'x', must be"),
    (lambda f: f.steps.write_text(f.steps.read_text().replace("1.0", "nan")), "loss: 'nan'"),
    (lambda f: f.steps.write_text(f.steps.read_text().replace("\n2,", "\n-2,")), "step '-2'"),
    (lambda f: f.config.write_text("a: [1"), "config.yaml: not readable"),
    (lambda f: f.config.unlink(), "not a run folder"),
]


@pytest.mark.parametrize(("spoil", "message"), HOSTILE)
def test_one_damaged_job_costs_its_row(
    tmp_path: Path, spoil: Callable[[RunFolder], object], message: str
) -> None:
    spoilt = job(tmp_path / "0", "seed=0")
    job(tmp_path / "1", "seed=1")
    assert damage(spoilt) is None
    spoil(spoilt)
    assert message in str(damage(spoilt))
    rows = summarise(tmp_path)
    assert [(row["status"], row["test_accuracy"]) for row in rows] == [
        ("damaged", None),
        ("done", 0.5),
    ]
    assert "damaged" in as_text(rows)


def test_only_the_jobs_of_a_sweep_are_its_jobs(tmp_path: Path) -> None:
    """A copy of a job is no further seed, nor is a run that somebody has put there."""
    for name in ("0", "1", "10", "0_backup", "eval", "01", "1/eval"):
        job(tmp_path / name, f"seed={name}")
    assert jobs_in(tmp_path) == ["0", "1", "10"]
    assert [row["job"] for row in summarise(tmp_path)] == ["0", "1", "10"]
    sweep_folder.write(tmp_path, sweep_folder.Typed(["seed=0,1"], None, None, ".", jobs=2))
    assert jobs_in(tmp_path) == ["0", "1"], "a copy that has a number for its name is none either"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1,1,1.0", "2,1,1.0", "steps.csv: line 2: step 2, must be 1"),
        ("2,1,1.0", "1,1,1.0", "steps.csv: line 3: step 1, must be 2"),
        ("2,1,1.0", "2,1,one", "steps.csv: line 3: loss: 'one', must be a number"),
        ("2,1,1.0", "2,1,inf", "steps.csv: line 3: loss: 'inf', must be a number"),
    ],
)
def test_rows_that_a_resume_would_go_on_from(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    folder = job(tmp_path / "run")
    folder.check_records(steps=2, epochs=1, evaluated=False, fingerprints={})
    text = folder.steps.read_text()
    assert old in text
    folder.steps.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message):
        folder.check_records(steps=2, epochs=1, evaluated=False, fingerprints={})
