"""What a sweep says of its jobs."""

from pathlib import Path

import pytest

from node_cli.cli.command import Job
from node_cli.cli.job_lines import JobLines
from node_cli.records.run_folder import RunFolder, Status
from tests.commands import NodeTrain

SMALL = ("data.limit=60", "epochs=1")


pytestmark = pytest.mark.usefixtures("undrawn")


def test_a_line_for_each_job_and_what_differs_of_the_header(node_train: NodeTrain) -> None:
    found = node_train("-m", *SMALL, "seed=3,4", "hydra.sweep.dir=s")
    assert found.code == 0
    assert "job 0 (1/2): seed=3\n" in found.out
    assert "1/2  job 0 done: seed=3  Test Accuracy: " in found.out
    assert "2/2  job 1 done: seed=4  Test Accuracy: " in found.out
    assert " left)" in found.out.partition("1/2  job 0")[2].partition("\n")[0]
    first, second = (found.out.partition(f"job {n} (")[2].partition("[1/1]")[0] for n in (0, 1))
    assert "solver  " in first and "seed " in first
    told = [line.partition("  ")[0] for line in second.splitlines()[1:] if line]
    assert told == ["seed", "folder"]


def test_jobs_of_other_processes_are_told_by_their_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not again those that had ended before, or had failed before and have not yet ended again."""

    def write(number: int, status: Status, reason: str = "") -> None:
        folder = RunFolder(tmp_path / str(number))
        folder.path.mkdir(exist_ok=True)
        folder.write_status(status, overrides=[], reason=reason, exit_code=number)

    for number, before in enumerate(["done", "failed", "running", "running"]):
        write(number, before)  # type: ignore[arg-type]
    jobs = [Job([f"seed={n}", "epochs=1"], config=None, notes=()) for n in range(5)]  # type: ignore[arg-type]
    lines = JobLines(tmp_path, jobs)
    lines.look()
    assert capsys.readouterr().out == ""
    with lines.looking():
        write(2, "diverged", reason="step 3: not finite")
        write(1, "running")
        write(1, "done")
    said = capsys.readouterr().out.splitlines()
    assert sorted(line.partition("  (")[0][5:] for line in said) == [
        "job 1 done: seed=1",
        "job 2 diverged: seed=2  step 3: not finite",
    ]
    assert said[-1].startswith("3/5  ")
    assert "1 failed" in said[-1]
