"""Settings of a sweep relative to the first one."""

from pathlib import Path

from node_cli.records.run_folder import RunFolder
from node_cli.report.relative import relative

NAMES = ("nfe_eval_mean", "test_accuracy")

PUBLISHED = [
    {
        "title": title,
        "source": source,
        "setting": {"solver.name": "tsit5", "regularize": chosen},
        "columns": "test_accuracy nfe_eval_mean",
        "rows": [row],
        "note": None,
    }
    for title, source, chosen, row in (
        ("vanilla", "one", [], "0.98 250"),
        ("vanilla", "another", [], "0.97 300"),
        ("pair", "another", ["steer", "error"], "0.96 150"),
    )
]


def row(sweep: Path, number: int, chosen: list[str], seed: str, accuracy: float, nfe: float):
    """The records of a finished job, and its row of summary.csv."""
    folder = RunFolder(sweep / str(number))
    folder.path.mkdir()
    regularize = {name: {"name": name} for name in chosen}
    solver = {"name": "tsit5"}
    folder.write_config(
        {"seed": seed, "solver": solver, "regularize": regularize, "published": PUBLISHED}
    )
    folder.write_status("done", overrides=[])
    metrics = {"test_accuracy": accuracy, "nfe_eval_mean": nfe}
    folder.write_result({"metrics": metrics})
    typed = f"[{','.join(chosen)}]" if chosen else None
    more = {"nfe_forward_mean": nfe, **metrics}
    return {"job": str(number), "regularize": typed, "seed": seed, "status": "done", **more}


def test_ours_are_compared_seed_by_seed_and_published_ones_within_a_source(tmp_path: Path) -> None:
    rows = [
        row(tmp_path, 0, [], "0", 0.90, 100.0),
        row(tmp_path, 1, [], "1", 0.94, 200.0),
        row(tmp_path, 2, ["error", "steer"], "0", 0.91, 50.0),
        row(tmp_path, 3, ["error", "steer"], "1", 0.93, 120.0),
        row(tmp_path, 4, ["error"], "5", 0.93, 120.0),
    ]
    text = relative(tmp_path, rows, ["regularize", "seed"], NAMES)
    header, _, first, pair, alone = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()
    ]
    assert header[1:] == ["NFE eval: published", "ours", "test acc: published", "ours"]
    assert first[1:] == ["1.000", "1.000 ± 0.000", "+0.00", "+0.00 ± 0.00"]
    assert pair == ["regularize=[error,steer]", "0.500", "0.550 ± 0.071", "-1.00", "+0.00 ± 1.41"]
    assert alone[1:] == ["", "", "", ""], "no seed and no source in common"
    text = relative(tmp_path, rows, ["regularize", "seed"], [*NAMES, "nfe_forward_mean"])
    assert "| NFE fwd: ours |" in text.splitlines()[0], "not printed"


def test_a_single_setting_is_relative_to_nothing(tmp_path: Path) -> None:
    assert relative(tmp_path, [row(tmp_path, 0, [], "0", 0.9, 100.0)], ["seed"], NAMES) == ""
