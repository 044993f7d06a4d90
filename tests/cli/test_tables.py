"""Tables: sweeps whose jobs are listed row by row."""

import re
from pathlib import Path

import pytest

from node_cli.cli import tables
from node_cli.cli.compose import Composer
from node_cli.config.files import CONF, choices
from node_cli.records.run_folder import RunFolder
from tests.commands import NodeTrain
from tests.folders import rows

pytestmark = pytest.mark.usefixtures("undrawn")

# Tables of days, which ``table=all`` leaves out.
LONG = ("pal2021", "pal2023")

MINE = """\
title: Mine
rows:
  - data.limit=150 epochs=1 seed=0,1
  - data.limit=150 epochs=1 model.core=none optimizer.lr=1e-2
note: Every seed counts.
plots: {plots/error.png: the error}
"""


@pytest.mark.parametrize("name", [n for n in choices("table") if n != "all"])
def test_every_table_has_its_controls(name: str) -> None:
    """The same f once, and nothing in its place; or it says why not."""
    table = tables.find([CONF], [name])[name]
    rows = " ".join(table.rows)
    has_both = all(re.search(rf"model\.core=\S*\b{core}\b", rows) for core in ("plain", "none"))
    assert has_both or "control" in table.note


@pytest.fixture
def mine(tmp_path: Path) -> str:
    """A folder with tables of the user's."""
    folder = tmp_path / "mine"
    (folder / "table").mkdir(parents=True)
    (folder / "table" / "mine.yaml").write_text(MINE)
    (folder / "table" / "both.yaml").write_text("tables: [mine, short]")
    (folder / "table" / "short.yaml").write_text("rows: [data.limit=150 epochs=1]")
    return str(folder)


def overrides(folder: str, *typed: str) -> dict[str, list[list[str]]]:
    with Composer(None, folder) as composer:
        return {
            command.folder.name: [[*job.overrides] for job in command.jobs]
            for command in composer.tables(composer.parse(typed))
        }


def test_rows_are_jobs_and_what_is_typed_wins(mine: str) -> None:
    begin = ["data.limit=150", "epochs=1"]
    found = overrides(mine, "table=mine", "seed=3", "epochs=2")
    assert found == {
        "mine": [
            ["data.limit=150", "seed=3", "epochs=2"],
            ["data.limit=150", "model.core=none", "optimizer.lr=0.01", "seed=3", "epochs=2"],
        ]
    }
    assert overrides(mine, "table=both") == {
        "mine": [
            [*begin, "seed=0"],
            [*begin, "seed=1"],
            [*begin, "model.core=none", "optimizer.lr=0.01"],
        ],
        "short": [begin],
    }
    assert list(overrides(mine, "table=short,mine")) == ["short", "mine"]


def test_a_table_runs_and_goes_on_as_a_sweep(
    node_train: NodeTrain, tmp_path: Path, mine: str
) -> None:
    result = node_train("--config-dir", mine, "table=both", "hydra.sweep.dir=s")
    assert result.code == 0, result.err
    jobs = [p.parent for p in sorted((tmp_path / "s").rglob("status.json"))]
    assert [str(p.relative_to(tmp_path / "s")) for p in jobs] == [
        *("mine/0", "mine/1", "mine/2"),
        "short/0",
    ]
    table = rows(tmp_path / "s" / "mine" / "summary.csv")
    assert [row["seed"] for row in table] == ["0", "1", ""]
    assert {row["status"] for row in table} == {"done"}

    last = (tmp_path / "s" / "mine" / "2" / "steps.csv").read_text()
    folder = RunFolder(tmp_path / "s" / "mine" / "2")
    folder.write_status("interrupted", overrides=folder.read_overrides())
    folder.last.unlink()
    assert node_train("resume=s").code == 0
    assert folder.read_status()["status"] == "done"
    again = (tmp_path / "s" / "mine" / "2" / "steps.csv").read_text()
    assert [line.split(",")[2] for line in again.splitlines()] == [
        line.split(",")[2] for line in last.splitlines()
    ], "the same losses"


def test_a_table_that_has_changed_is_not_gone_on_with(
    node_train: NodeTrain, tmp_path: Path, mine: str
) -> None:
    assert node_train("--config-dir", mine, "table=short", "hydra.sweep.dir=s").code == 0
    file = tmp_path / "mine" / "table" / "short.yaml"
    file.write_text("rows: [data.limit=150 epochs=1, data.limit=150 epochs=1 seed=1]")
    assert node_train("resume=s/short").code == 0, "a row more"
    assert (tmp_path / "s" / "short" / "1").is_dir()
    assert node_train("resume=s/short/0", "epochs=2").code == 0
    assert node_train("resume=s/short").code == 0, "a job that was trained further"
    file.write_text("rows: [data.limit=150 epochs=1 seed=5]")
    result = node_train("resume=s/short")
    assert result.code == 2
    assert "job 0 began as data.limit=150 epochs=2, the table now says" in result.err
    (tmp_path / "s" / "short").rename(tmp_path / "s" / "renamed")
    result = node_train("resume=s/renamed")
    assert result.code == 2
    assert "resume=s/renamed: must have the name of its table" in result.err


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["table=mien"], "table=mien: choose from all, anode, bad, both"),
        (["table=mine", "epocs=3"], "epocs=3: no such key (did you mean epochs?)"),
        (["table=mine", "solver=rk5"], "solver=rk5: choose from"),
        (["-m", "table=mine"], "table=: is a sweep of its own"),
        (["--cfg", "job", "table=mine"], "table=: is a sweep of its own"),
        (["table=mine", "hydra/sweeper=basic"], "hydra/sweeper: not used with table="),
        (["table=bad"], "bad.yaml: rows.0: Input should be a valid string"),
        (["table=worse"], "worse.yaml: rowz: Extra inputs are not permitted"),
        (["table=wrong"], "model=nodel: choose from"),
        (["table=open"], "open.yaml: rows: data.root='a b: No closing quotation"),
        (["table=inner"], "inner.yaml: rows: table=mine: a table of tables names them in tables"),
        (["table=twice"], "table=twice: 3 jobs, but 2 different ones"),
        (["table=round"], "table=round: is part of itself"),
    ],
)
def test_mistakes_are_one_line(
    node_train: NodeTrain, tmp_path: Path, mine: str, typed: list[str], message: str
) -> None:
    (tmp_path / "mine" / "table" / "bad.yaml").write_text("rows: [1]")
    (tmp_path / "mine" / "table" / "worse.yaml").write_text("rowz: [epochs=1]")
    (tmp_path / "mine" / "table" / "wrong.yaml").write_text("rows: [model=nodel]")
    (tmp_path / "mine" / "table" / "round.yaml").write_text("tables: [round]")
    (tmp_path / "mine" / "table" / "open.yaml").write_text('rows: ["data.root=\'a b"]')
    (tmp_path / "mine" / "table" / "inner.yaml").write_text("rows: [table=mine]")
    (tmp_path / "mine" / "table" / "twice.yaml").write_text('rows: ["seed=0,1", seed=0]')
    result = node_train("--config-dir", mine, *typed, "hydra.sweep.dir=s")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert message in line
    assert not (tmp_path / "s").exists()


def test_a_folder_that_is_not_empty_is_refused(
    node_train: NodeTrain, tmp_path: Path, mine: str
) -> None:
    (tmp_path / "s" / "short").mkdir(parents=True)
    (tmp_path / "s" / "short" / "note.txt").write_text("mine")
    result = node_train("--config-dir", mine, "table=short", "hydra.sweep.dir=s")
    assert result.code == 2
    assert "not empty" in result.err


def test_jobs_that_fail_cost_their_own_rows(
    node_train: NodeTrain, tmp_path: Path, mine: str
) -> None:
    done = node_train("--config-dir", mine, "table=both", "hydra.sweep.dir=s", "solver.max_nfe=3")
    assert done.code == 1
    assert "summary.csv" in done.out
    statuses = [row["status"] for row in rows(tmp_path / "s" / "mine" / "summary.csv")]
    assert statuses == ["failed", "failed", "done"]


def test_every_shipped_table_is_sound() -> None:
    names = {path.stem for path in (CONF / "table").glob("*.yaml")} - {"all"}
    with Composer() as composer:
        commands = composer.tables(composer.parse([f"table=all,{','.join(LONG)}", "seed=0"]))
    found = {command.folder.name: command.jobs for command in commands}
    assert set(found) == names
    for jobs in found.values():
        assert all(job.notes == [] for job in jobs)
