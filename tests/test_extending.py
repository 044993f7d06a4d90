"""What docs/extending.md promises: each kind of addition costs the files it says, and works.

All additions are made in a copy of the package, which then trains with each of them.
"""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.additions import ADDITIONS, Copy

REPOSITORY = Path(__file__).parents[1]

SHORT = ["data.limit=120", "batch_size=40", "epochs=1"]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The package with a toy of every kind added, as docs/extending.md says."""
    root = tmp_path_factory.mktemp("copy")
    for name in ("node_cli", "conf"):
        shutil.copytree(
            REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    package = Copy(root)
    for add in ADDITIONS:
        add(package)
    return package


def test_every_addition_costs_as_few_files_as_promised(copy: Copy) -> None:
    most = {
        "solver": 2,
        "gradient method": 3,
        "field": 1,
        "data set": 2,
        "measure": 2,
        "observer": 2,
        "optimizer": 2,
        "regulariser": 3,
    }
    assert {what: len(files) for what, files in copy.changed.items()} == most


def test_a_run_uses_every_toy(copy: Copy) -> None:
    out = copy.node_train(
        *("data=toy", "data.download=false", "solver=toy", "sensitivity=toy", "model.field=toy"),
        *("optimizer=toy", "batch_size=20", "epochs=1", "hydra.run.dir=run"),
        *("observers=[files,terminal,toy]", "regularize=[toy,kinetic]"),
    )
    assert "toy" in out
    steps = rows(copy.root / "run" / "steps.csv")
    assert [float(row["toy"]) for row in steps] == [2 * float(row["loss"]) for row in steps]
    assert all(float(row["penalty_toy"]) > 0 for row in steps)
    assert (copy.root / "run" / "toy.txt").read_text() == str(len(steps)) == "3"
    result = json.loads((copy.root / "run" / "result.json").read_text())
    assert result["solver"].startswith("toy") and result["sensitivity"] == "toy"


@pytest.mark.slow
def test_a_new_gradient_method_is_checked_beside_the_others(copy: Copy) -> None:
    copy.node_train("task=check_gradients", *SHORT[:2], "hydra.run.dir=check")
    found = {row["sensitivity"]: row for row in rows(copy.root / "check" / "gradients.csv")}
    assert found["toy"]["relative_error"] == found["checkpointed"]["relative_error"] != ""


def test_help_names_every_toy(copy: Copy) -> None:
    words = copy.node_train("--help").replace(",", " ").split()
    groups = ["data", "field", "observer", "optimizer", "regularize", "sensitivity", "solver"]
    assert words.count("toy") == len(groups) + 1, "and our own model of that name"
