"""Published numbers beside measured ones, from files alone."""

from pathlib import Path
from typing import Any

import pytest

from node_cli.config.published import PLACES
from node_cli.records.columns import EPOCHS, EVALUATIONS, PUBLISHED, STEPS
from node_cli.records.measures import publishable
from node_cli.records.run_folder import RunFolder
from node_cli.report.comparison import compare, write
from tests.folders import rows
from tests.report.test_summary import write_csv

TABLE = {
    "title": "Tutorial",
    "source": "a page",
    "setting": {"solver.name": "tsit5", "epochs": 2},
    "columns": "epoch seconds holdout_accuracy",
    "rows": ["0 - 0.1", "1 3.5 0.5", "2 0.3 0.75", "3 0.3 0.8"],
    "note": None,
}


def run(path: Path, seed: int, published: Any = TABLE, **accuracies: float) -> RunFolder:
    """A finished run of two epochs of two steps."""
    folder = RunFolder(path)
    path.mkdir(parents=True)
    folder.write_config(
        {
            "seed": seed,
            "epochs": 2,
            "solver": {"name": "tsit5"},
            "sensitivity": None,
            "published": [published],
        }
    )
    folder.write_status(
        "done", overrides=["experiment=x", f"seed={seed}", "data.root=/somewhere"], exit_code=0
    )
    numbers = {0: 0.1, 1: 0.4 + seed / 10, 2: 0.7 + seed / 10}
    evaluations = [
        {"step": 2 * e, "epoch": e, "split": "holdout", "accuracy": a} for e, a in numbers.items()
    ]
    write_csv(folder.evaluations, EVALUATIONS.columns, evaluations)
    epochs = [
        {"epoch": e, "step": 2 * e, "seconds": 0.01, "holdout_accuracy": numbers[e]} for e in (1, 2)
    ]
    write_csv(folder.epochs, EPOCHS.columns, epochs)
    write_csv(folder.steps, STEPS.columns, [{"step": s, "nfe_forward": 14} for s in (1, 2, 3, 4)])
    folder.write_result({"parameters": 16_450, "metrics": {"test_accuracy": 0.9 + seed / 100}})
    return folder


def test_difference_and_range_over_seeds(tmp_path: Path) -> None:
    (comparison,) = compare([run(tmp_path / str(seed), seed) for seed in (0, 1, 2)])
    found = {at: entries[1] for at, entries in comparison.rows}
    assert comparison.runs == "experiment=x"
    assert comparison.seeds == 3
    assert found[0].ours == [0.1, 0.1, 0.1]
    assert found[1].difference == pytest.approx(0.0)
    assert found[1].inside is True
    assert found[2].difference == pytest.approx(0.05)
    assert found[3].ours == []
    assert found[3].difference is None
    seconds = comparison.rows[1][1][0]
    assert seconds.published == 3.5
    assert seconds.difference is None, "machines differ"
    assert "Seconds were measured on different machines" in comparison.as_text()
    assert comparison.verdict() == "3 of 3 published numbers lie in the range of our 3 seeds."


def test_a_number_outside_the_range_is_marked(tmp_path: Path) -> None:
    table = TABLE | {"rows": ["1 - 0.39", "2 - 0.95"]}
    (comparison,) = compare([run(tmp_path / str(seed), seed, table) for seed in (0, 1)])
    text = comparison.as_text()
    assert "| 39.00%                      | 45.00% ± 7.07% | +6.00 *    |" in text
    assert "| 95.00%                      | 75.00% ± 7.07% | -20.00 *   |" in text
    assert "0 of 2" in text
    assert "higher in 1 and lower in 1" in text
    assert "| seconds " in text
    assert "seconds: published" not in text, "where none was printed"
    assert "Seconds were measured" not in text


def test_a_single_run_has_differences_and_no_range(tmp_path: Path) -> None:
    (comparison,) = compare([run(tmp_path / "0", 0)])
    assert comparison.rows[1][1][1].difference == pytest.approx(-0.1)
    assert comparison.rows[1][1][1].inside is None
    assert comparison.verdict() == ""
    assert "*" not in comparison.as_text()


def test_tables_of_steps_and_of_the_end(tmp_path: Path) -> None:
    steps = TABLE | {"columns": "step holdout_accuracy nfe_forward", "rows": ["2 0.5 3"]}
    (comparison,) = compare([run(tmp_path / "steps", 0, steps)])
    ((at, (accuracy, nfe)),) = comparison.rows
    assert (at, accuracy.ours, nfe.ours) == (2, [0.4], [14.0])
    end = TABLE | {"columns": "test_error parameters", "rows": ["0.08 20000"]}
    (comparison,) = compare([run(tmp_path / "end", 0, end)])
    ((_, (error, parameters)),) = comparison.rows
    assert error.difference == pytest.approx(0.02)
    assert parameters.difference == -3550
    assert "| 20,000                | 16,450 | -3,550     |" in comparison.as_text()


def test_other_settings_and_unfinished_runs_have_no_table(tmp_path: Path) -> None:
    other = TABLE | {"setting": {"solver.name": "dopri5"}}
    assert compare([run(tmp_path / "0", 0, other)]) == []
    missing = TABLE | {"setting": {"sensitivity.name": "gauss"}}
    assert compare([run(tmp_path / "1", 0, missing)]) == []
    failed = run(tmp_path / "2", 0)
    failed.write_status("failed", overrides=[])
    assert compare([failed]) == []


def test_the_file_has_a_row_per_number(tmp_path: Path) -> None:
    write(tmp_path / "published.csv", compare([run(tmp_path / str(s), s) for s in (0, 1, 2)]))
    found = rows(tmp_path / "published.csv")
    assert tuple(found[0]) == PUBLISHED.columns
    assert len(found) == 8
    row = found[3]
    assert (row["at"], row["name"], row["published"], row["seeds"]) == (
        *("epoch 1", "holdout_accuracy", "0.5"),
        "3",
    )
    assert float(row["min"]) == pytest.approx(0.4)
    assert float(row["max"]) == pytest.approx(0.6)
    assert row["inside"] == "True"


def test_what_a_published_table_may_name() -> None:
    assert publishable("step") >= {*STEPS.columns, "test_error", "train_eval_loss"} - {*PLACES}
    assert "parameters" in publishable(None) - publishable("epoch")
