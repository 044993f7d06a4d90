"""A measured number has one home: from its row follow columns, means, print and documentation."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node_cli.config.schema import Config
from node_cli.learn.update import Outcome, Update
from node_cli.ode.work import Work
from node_cli.records import measures, progress, summary_measures
from node_cli.records.column_tables import markdown
from node_cli.records.columns import EPOCHS, EVALUATIONS, GRADIENTS, RECORDS, STEPS
from node_cli.records.measure import Measure, mean
from node_cli.records.measures import unit
from node_cli.records.progress import EpochSums, Progress
from node_cli.records.units import FRACTION, LOSS, NUMBER, PARAMETERS
from tests.folders import rows
from tests.runs import run

Configure = Callable[..., Config]


def test_the_columns_that_scripts_rely_on() -> None:
    """New ones only at the end."""
    assert " ".join(STEPS.columns).startswith(
        "step epoch loss accuracy lr grad_norm nfe_forward nfe_backward vjps_backward "
        "accepted_forward rejected_forward accepted_backward rejected_backward seconds"
    )
    assert " ".join(EPOCHS.columns).startswith(
        "epoch step seconds eval_seconds images_per_s train_loss train_accuracy "
        "train_eval_accuracy holdout_loss holdout_accuracy test_loss test_accuracy "
        "nfe_forward_mean nfe_forward_max nfe_backward_mean nfe_backward_max vjps_backward_mean "
        "rejected_mean nfe_eval_mean peak_memory_mib"
    )
    assert " ".join(EVALUATIONS.columns).startswith(
        "step epoch split images loss accuracy nfe_mean"
    )
    assert " ".join(GRADIENTS.columns).startswith(
        "sensitivity norm relative_error relative_error_f cosine nfe_forward nfe_backward "
        "vjps_backward accepted_forward rejected_forward accepted_backward rejected_backward "
        "extra_memory_mib seconds note"
    )


def test_every_column_once_and_with_a_meaning() -> None:
    for record in RECORDS:
        assert len(set(record.columns)) == len(record.columns)
        assert all(m.meaning for m in record.measures)
    assert set(summary_measures.SUMMARY) <= set(EPOCHS.columns)
    for total in measures.TOTALS:
        assert {*total.of} <= measures.STEP_NAMES
    assert set(measures.work_cells(Work())) < set(STEPS.columns)


def test_the_documentation_of_columns_has_every_column() -> None:
    command = [sys.executable, "-m", "node_cli.records.column_tables"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == markdown()
    for record in RECORDS:
        for name in record.columns:
            assert f"\n| `{name}` |" in done.stdout


@pytest.mark.parametrize(
    ("name", "value", "report", "difference"),
    [
        ("test_accuracy", 0.98765, "98.77%", "+98.77"),
        ("test_error", -0.00001, "-0.00%", "+0.00"),
        ("train_loss", 0.123456789, "0.12346", "+0.123"),
        ("train_eval_loss", 0.123456789, "0.12346", "+0.123"),
        ("nfe_forward_mean", 14.25, "14.25", "+14.2"),
        ("parameters", 1234567.0, "1,234,567", "+1,234,567"),
        ("unheard_of", 1234.5678, "1235", "+1.23e+03"),
    ],
)
def test_how_a_value_is_printed(name: str, value: float, report: str, difference: str) -> None:
    assert unit(name).in_report(value) == report
    assert unit(name).difference_in_report(value) == difference
    assert unit(name).in_report(None) == ""


def test_units() -> None:
    assert (unit("holdout_loss"), unit("accuracy"), unit("nfe_forward_max")) == (
        *(LOSS, FRACTION),
        NUMBER,
    )
    assert unit("parameters") is PARAMETERS
    assert not unit("seconds").comparable


def test_sums_of_an_epoch_by_hand() -> None:
    sums = EpochSums(seconds=2.0)
    work = Work(nfe_forward=14, nfe_backward=3, vjps_backward=7)
    work.forward.rejected, work.backward.rejected = 2, 1
    sums.add(3, Outcome(1.0, 0.5, 1, work).measured(3))
    sums.skip(4)
    sums.add(1, Outcome(2.0, 0.5, 1, Work(nfe_forward=20)).measured(1))
    found = sums.row()
    assert found["train_loss"] == (1.0 * 3 + 2.0 * 1) / 4
    assert found["train_accuracy"] == 2 / 4
    assert (found["nfe_forward_mean"], found["nfe_forward_max"]) == (17.0, 20)
    assert (found["nfe_backward_mean"], found["vjps_backward_mean"]) == (1.5, 3.5)
    assert found["rejected_mean"] == 1.5
    assert found["images_per_s"] == 8 / 2.0


def test_what_a_single_step_lacks_the_epoch_lacks() -> None:
    sums = EpochSums(seconds=1.0)
    sums.add(1, Outcome(1.0, 0.5, None, Work()).measured(1))
    sums.add(1, Outcome(1.0, 0.5, 1, None).measured(1))
    found = sums.row()
    assert found["train_accuracy"] is None
    assert found["nfe_forward_mean"] is None
    assert found["train_loss"] == 1.0
    only_skipped = EpochSums(seconds=1.0)
    only_skipped.skip(1)
    assert only_skipped.row()["train_loss"] is None


def test_progress_keeps_the_format_of_older_checkpoints() -> None:
    """That of version 0.1, key for key."""
    older: dict[str, Any] = {
        "step": 7,
        "epoch": 1,
        "best_score": 0.5,
        "best_epoch": 1,
        "sums": {
            "batches": 2,
            "skipped": 0,
            "images": 64,
            "trained": 64,
            "seconds": 0.25,
            "eval_seconds": 0.0,
            "loss": 96.5,
            "correct": 30,
            "nfe_forward": 28,
            "nfe_forward_max": 14,
            "nfe_backward": 0,
            "nfe_backward_max": 0,
            "vjps_backward": 28,
            "rejected": None,
        },
    }
    newer = {"drift_backward_max": None}  # unknown in the middle of an epoch
    read = Progress.from_state_dict(older)
    assert read.sums.totals["loss"] == 96.5
    assert read.state_dict() == older | {"sums": older["sums"] | newer}
    assert list(read.state_dict()["sums"]) == [*older["sums"], *newer]
    with pytest.raises(ValueError, match="nfe_forward"):
        Progress.from_state_dict(older | {"sums": older["sums"] | {"nfe_forward": "x"}})


def test_a_total_that_an_older_checkpoint_lacks_is_unknown_for_its_epoch() -> None:
    state = Progress().state_dict()
    del state["sums"]["rejected"]
    assert Progress.from_state_dict(state).sums.totals["rejected"] == 0
    state["sums"]["batches"] = 1
    assert Progress.from_state_dict(state).sums.totals["rejected"] is None


def test_a_new_measure_costs_a_row_and_the_line_that_measures_it(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the norm of the weights: in steps.csv, its mean in epochs.csv, in the documentation."""
    steps = (*measures.STEPS, Measure("weight_norm", NUMBER, "norm of the weights"))
    total = mean("weight_norm")
    epochs = (*measures.EPOCHS, Measure("weight_norm_mean", NUMBER, "its mean", total=total))
    for module, record in (("node_cli.learn.loop", "STEPS"), ("node_cli.tasks.csv_files", "STEPS")):
        monkeypatch.setattr(f"{module}.{record}", replace(STEPS, measures=steps))
    for module in ("node_cli.learn.loop", "node_cli.tasks.csv_files"):
        monkeypatch.setattr(f"{module}.EPOCHS", replace(EPOCHS, measures=epochs))
    monkeypatch.setattr(measures, "EPOCHS", epochs)
    monkeypatch.setattr(progress, "TOTALS", (*measures.TOTALS, total))
    monkeypatch.setattr("node_cli.learn.update.STEP_NAMES", measures.STEP_NAMES | {"weight_norm"})
    call = Update.__call__

    def measuring(self: Any, *args: Any) -> Outcome:
        norm = sum(float(p.detach().norm()) for p in self.parameters)
        return replace(call(self, *args), more={"weight_norm": norm})

    monkeypatch.setattr(Update, "__call__", measuring)
    folder = run(configure("data.limit=100", "epochs=1", "batch_size=30"), tmp_path / "run")
    found = [float(row["weight_norm"]) for row in rows(folder.steps)]
    assert len(found) == 3
    assert float(rows(folder.epochs)[0]["weight_norm_mean"]) == pytest.approx(sum(found) / 3)


def test_an_unknown_measure_is_not_dropped_in_silence() -> None:
    with pytest.raises(AssertionError, match="a row in records"):
        Outcome(1.0, 1.0, None, None, {"weigth_norm": 1.0}).measured(1)
