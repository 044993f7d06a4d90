"""Which runs are compared, and what is told of them over their seeds."""

import shutil
from pathlib import Path
from statistics import mean, stdev

import pytest

from node_cli.report.compared import T, compare_settings
from node_cli.report.found_runs import find_runs
from node_cli.report.page_data import numbers_of
from tests.report.finished_runs import ACCURACIES, run


def test_settings_are_runs_that_differ_by_their_seed_alone(runs: Path) -> None:
    run(runs / "none" / "0", "none", 0, 0.5)
    comparison = compare_settings(find_runs([runs]), numbers_of)
    assert [s.label for s in comparison.settings] == [
        *("solver=dopri5", "solver=euler", "solver=null", "solver=rk4")
    ]
    assert comparison.keys == ["solver.name"]
    assert comparison.differing == ["solver.name", "solver.rtol"], "data.root says nothing"
    rk4 = comparison.settings[-1]
    found = rk4.estimate("test_accuracy")
    assert found
    assert (found.mean, found.std, found.seeds) == (
        pytest.approx(mean(ACCURACIES["rk4"])),
        pytest.approx(stdev(ACCURACIES["rk4"])),
        3,
    )
    assert found.half == pytest.approx(T[1] * stdev(ACCURACIES["rk4"]) / 3**0.5)
    assert rk4.runs[0].command(rk4.seeds) == "node-train -m solver=rk4 seed=0,1,2"
    single = comparison.settings[0].estimate("test_accuracy")
    assert single
    assert (single.std, single.half) == (None, None)


def test_runs_on_other_data_are_not_taken_for_runs_on_the_same(tmp_path: Path) -> None:
    run(tmp_path / "first", "rk4", 0, 0.9)
    other = run(tmp_path / "second", "euler", 0, 0.8)
    other.write_config(other.read_config() | {"data": {"name": "moons"}})
    other.write_status("done", overrides=["solver=euler", "data=moons"])
    comparison = compare_settings(find_runs([tmp_path]), numbers_of)
    assert [s.label for s in comparison.settings] == [
        *("solver=rk4 data=digits", "solver=euler data=moons")
    ]


def test_compile_auto_is_what_it_came_to(tmp_path: Path) -> None:
    for seed, (value, compiled) in enumerate([("auto", False), (False, False), ("auto", True)]):
        folder = run(tmp_path / str(seed), "rk4", seed, 0.9)
        folder.write_config(folder.read_config() | {"compile": value})
        folder.write_status("done", overrides=[f"compile={value}"])
        folder.write_result(folder.read_result() | {"compiled": compiled})
    comparison = compare_settings(find_runs([tmp_path]), numbers_of)
    assert [(s.label, s.seeds) for s in comparison.settings] == [
        *(("compile=false", [0, 1]), ("compile=true", [2]))
    ]


def test_a_run_that_was_made_twice_counts_as_one_seed(runs: Path) -> None:
    shutil.copytree(runs / "dopri5" / "0", runs / "again")
    comparison = compare_settings(find_runs([runs / "dopri5", runs / "again"]), numbers_of)
    (setting,) = comparison.settings
    found = setting.estimate("test_accuracy")
    assert (len(setting.runs), found and found.seeds) == (2, 1)


@pytest.mark.slow  # scipy.stats takes a second to import
def test_quantiles_of_t() -> None:
    from scipy.stats import t

    assert pytest.approx([t.ppf(0.975, n + 1) for n in range(len(T))], abs=5e-4) == T
