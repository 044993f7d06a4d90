"""Published numbers beside measured ones, from files alone."""

from pathlib import Path
from typing import Any

import pytest

from node_cli.config.published import PLACES
from node_cli.records.columns import EPOCHS, EVALUATIONS, PUBLISHED, STEPS
from node_cli.records.measures import publishable
from node_cli.records.run_folder import RunFolder
from node_cli.report.comparison import compare, write
from node_cli.report.comparison_text import texts
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


END = TABLE | {"columns": "test_error parameters", "rows": ["0.08 20000"]}


def run(path: Path, seed: int, *published: Any) -> RunFolder:
    """A finished run of two epochs of two steps."""
    folder = RunFolder(path)
    path.mkdir(parents=True)
    folder.write_config(
        {
            "seed": seed,
            "epochs": 2,
            "solver": {"name": "tsit5"},
            "sensitivity": None,
            "published": [*published] or [TABLE],
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


def test_difference_and_noise_over_seeds(tmp_path: Path) -> None:
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
    (text,) = texts([comparison])
    assert "Seconds were measured on different machines" in text.body()
    (verdict,) = text.verdicts
    assert verdict.startswith(
        "3 of 3 published numbers lie within mean ± standard deviation of our 3"
    )


def test_each_difference_says_whether_it_is_noise(tmp_path: Path) -> None:
    table = TABLE | {"rows": ["1 - 0.39", "2 - 0.95", "2 - 0.8"]}
    (comparison,) = compare([run(tmp_path / str(seed), seed, table) for seed in (0, 1)])
    (text,) = texts([comparison])
    assert "| 45.00% ± 7.07% | 39.00%    | +6.00 in   |" in text.table(), "less than 7.07"
    assert "| 75.00% ± 7.07% | 95.00%    | -20.00 out |" in text.table()
    (verdict,) = text.verdicts
    assert "2 of 3" in verdict
    assert "higher in 0 and lower in 1" in verdict
    assert "| train s " in text.table()
    assert text.table().count("published") == 1, "where none was printed"
    assert "Seconds were measured" not in text.body()


def test_of_a_single_run_it_cannot_be_told(tmp_path: Path) -> None:
    (comparison,) = compare([run(tmp_path / "0", 0)])
    assert comparison.rows[1][1][1].difference == pytest.approx(-0.1)
    assert comparison.rows[1][1][1].inside is None
    (text,) = texts([comparison])
    assert text.verdicts == []
    assert "-10.00 ?" in text.table()
    assert "One seed cannot tell" in text.body()


def test_seeds_that_agree_and_a_published_number_that_equals_them(tmp_path: Path) -> None:
    steps = TABLE | {"columns": "step nfe_forward", "rows": ["1 14", "2 15"]}
    (comparison,) = compare([run(tmp_path / str(s), s, steps) for s in (0, 1)])
    assert [entry.inside for _, (entry,) in comparison.rows] == [True, False]


def test_two_versions_of_a_published_table_are_one_text(tmp_path: Path) -> None:
    other = TABLE | {
        "title": "Another version",
        "rows": ["0 - 0.2", "1 3.5 0.6", "2 1 0.7", "3 1 1"],
    }
    runs = [run(tmp_path / str(seed), seed, TABLE, other) for seed in (0, 1)]
    comparisons = compare(runs)
    assert len(comparisons) == 2
    (text,) = texts(comparisons)
    assert text.sources == ["(1: Tutorial, a page)", "(2: Another version, a page)"]
    header = [cell.strip() for cell in text.table().splitlines()[0].split("|")]
    assert header.count("holdout acc") == 1
    assert {"published 1", "difference 1", "published 2", "difference 2"} <= {*header}
    assert [verdict[:2] for verdict in text.verdicts] == ["1:", "2:"]
    assert len(texts([*comparisons, *compare([run(tmp_path / "end", 0, END)])])) == 2


def test_a_table_fits_the_terminal(tmp_path: Path) -> None:
    comparisons = compare([run(tmp_path / str(seed), seed) for seed in (0, 1)])
    (text,) = texts(comparisons)
    assert max(map(len, text.table().splitlines())) > 50
    assert max(map(len, text.table(50).splitlines())) <= 50
    assert text.table(50).count("| epoch |") == 2


def test_tables_of_steps_and_of_the_end(tmp_path: Path) -> None:
    steps = TABLE | {"columns": "step holdout_accuracy nfe_forward", "rows": ["2 0.5 3"]}
    (comparison,) = compare([run(tmp_path / "steps", 0, steps)])
    ((at, (accuracy, nfe)),) = comparison.rows
    assert (at, accuracy.ours, nfe.ours) == (2, [0.4], [14.0])
    (comparison,) = compare([run(tmp_path / "end", 0, END)])
    ((_, (error, parameters)),) = comparison.rows
    assert error.difference == pytest.approx(0.02)
    assert parameters.difference == -3550
    (text,) = texts([comparison])
    assert "| 16,450     | 20,000    | -3,550 ?   |" in text.table()


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
    for place in ("step", "epoch", None):
        assert publishable(place) >= {"test_top_k", "holdout_calibration_error"}
