"""Jobs in several processes at once, by launchers of Hydra's. They need the extra ``launchers``."""

from pathlib import Path

import pytest

from node_cli.cli.compose import Composer
from node_cli.cli.fail_fast import forget_failure
from node_cli.cli.hydra_app import launch
from node_cli.records import sweep_folder
from node_cli.records.run_folder import RunFolder
from tests.commands import in_new_process
from tests.folders import rows

SMALL = "data.limit=60 epochs=1"
ROWS = (f"{SMALL} seed=0,1 model=mlp", f"{SMALL} solver=rk4 solver.n_steps=2")
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


slow = pytest.mark.slow


@pytest.mark.usefixtures("undrawn")
def test_a_launched_job_knows_its_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has to know of it, with the launcher that needs no extra: its row is in the summary
    when it ends, none starts after one that has failed, and what is done is not run again."""
    monkeypatch.chdir(tmp_path)
    texts = [*SMALL.split(), "sweep.fail_fast=true", "solver.max_nfe=1000,1,1001"]
    texts.append("hydra.sweep.dir=s")
    with Composer() as composer:
        command = composer.command(composer.parse(texts), multirun=True)
    command.folder.mkdir()
    sweep_folder.write(command.folder, sweep_folder.Typed(texts, None, None, str(tmp_path)))
    jobs = dict(enumerate(command.jobs))
    launch(command, jobs)
    found = rows(tmp_path / "s" / "summary.csv")
    assert [(row["job"], row["status"]) for row in found] == [("0", "done"), ("1", "failed")]
    ended = RunFolder(tmp_path / "s" / "0").status.stat()
    forget_failure(command.folder)
    launch(command, jobs)
    assert RunFolder(tmp_path / "s" / "0").status.stat() == ended
    forget_failure(command.folder)
    launch(command, {2: jobs[2]})
    found = rows(tmp_path / "s" / "summary.csv")
    assert [row["status"] for row in found if row["job"] == "2"] == ["done"], "in its own folder"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The sweep that the table ``small`` will be."""
    folder = tmp_path / "my" / "table"
    folder.mkdir(parents=True)
    lines = "".join(f"  - {row}\n" for row in ROWS)
    (folder / "small.yaml").write_text(f"title: small\nrows:\n{lines}")
    return tmp_path / "t" / "small"


TABLE = ("--config-dir", "my", "table=small", "hydra.sweep.dir=t")
SWEEP = ("-m", *SMALL.split(), "seed=0,1,2", "hydra.sweep.dir=s")


def figures(sweep: Path) -> list[tuple[str, ...]]:
    columns = ("job", "status", "train_loss", "test_accuracy", "nfe_forward_mean")
    return sorted(tuple(row[c] for c in columns) for row in rows(sweep / "summary.csv"))


@slow
def test_a_table_in_two_processes_equals_one_after_the_other(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cores are divided: a model for two threads gets one in each of two processes."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = in_new_process(*TABLE, *JOBLIB, cwd=tmp_path)
    assert found.code == 0, found.err
    assert "Warning" not in found.err
    assert "3/3  job " in found.out
    jobs = [RunFolder(table / name) for name in "012"]
    for job in jobs:
        assert "[1/1]" in job.output.read_text()
        assert job.read_result()["environment"]["threads"] == 1
    together = figures(table)
    one_by_one = in_new_process(*TABLE[:-1], "hydra.sweep.dir=u", "threads=1", cwd=tmp_path)
    assert one_by_one.code == 0, one_by_one.err
    assert figures(tmp_path / "u" / "small") == together


@slow
@pytest.mark.parametrize("launcher", [JOBLIB, ("hydra/launcher=submitit_local",)])
@pytest.mark.parametrize("command", [TABLE, SWEEP])
def test_an_interrupted_sweep_goes_on_with_its_launcher(
    table: Path, tmp_path: Path, launcher: tuple[str, ...], command: tuple[str, ...]
) -> None:
    """As after a kill: job 1 has not said its end, job 2 has not started."""
    pytest.importorskip(f"hydra_plugins.hydra_{launcher[0].split('=')[1].split('_')[0]}_launcher")
    assert in_new_process(*command, *launcher, cwd=tmp_path).code == 0
    sweep = table if command == TABLE else tmp_path / "s"
    whole = figures(sweep)
    assert [row[1] for row in whole] == ["done"] * 3
    for file in (*(sweep / "2").rglob("*"), sweep / "1" / "result.json"):
        if file.is_file():
            file.unlink()
    half = RunFolder(sweep / "1")
    half.write_status("running", overrides=half.read_overrides())
    untouched = [(sweep / "0" / name).stat() for name in ("status.json", "output.log")]
    again = in_new_process(f"resume={sweep.relative_to(tmp_path)}", cwd=tmp_path)
    assert again.code == 0, again.err
    assert figures(sweep) == whole
    assert "job 0" not in again.out
    assert untouched == [(sweep / "0" / n).stat() for n in ("status.json", "output.log")]
    assert (sweep / "2" / "output.log").exists(), "in a process of its own"
