"""Make runs with the code of a commit, small enough to be kept: tests/runs/COMMIT.tar.xz.

    python -m tests.make_old_runs COMMIT

``tests/records/test_old_runs.py`` reads them with the code as it is. Made anew for a commit whose
checkpoints, records or configuration have another form than those before. Weights and the state of
the optimizer are rounded, so that they take no room; checkpoints that no test needs are left out.
"""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).parents[1]
PLACE = Path("/tmp/old-runs")  # its name stands in the files

TINY = ("data.limit=30", "batch_size=10")
TABLE = "title: A table\nrows:\n  - epochs=1 seed=0,1\n"


def main(commit: str) -> None:
    """Run, prune and pack."""
    shutil.rmtree(PLACE, ignore_errors=True)
    code, work = PLACE / "code", PLACE / "work"
    (work / "my" / "table").mkdir(parents=True)
    (work / "my" / "table" / "tiny.yaml").write_text(TABLE)
    archive = subprocess.run(
        ["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        tar.extractall(code, filter="data")

    finish(work, *TINY, "epochs=2", "hydra.run.dir=run")
    interrupt(work, *TINY, "epochs=100000", "hydra.run.dir=interrupted")
    finish(work, "-m", *TINY, "epochs=1", "seed=0,1", "hydra.sweep.dir=sweep")
    shutil.rmtree(work / "sweep" / "1")  # as if it had not started
    for summary in (work / "sweep").glob("summary.*"):
        summary.unlink()
    if (code / "conf" / "table").is_dir():
        finish(work, "--config-dir", "my", "table=tiny", *TINY, "hydra.sweep.dir=table")
    if (code / "conf" / "data" / "spiral_linear.yaml").is_file():
        fit = ("data=spiral_linear", "model=linear_field", "data.points=20", "data.windows=2")
        longest = ("data.window_shortest=5", "data.window_longest=10")
        finish(work, *fit, *longest, "data.end=20", "epochs=2", "hydra.run.dir=fit")
    prune(work)
    with tarfile.open(REPOSITORY / "tests" / "runs" / f"{commit}.tar.xz", "w:xz") as tar:
        for path in sorted(work.iterdir()):
            tar.add(path, path.name, filter=anonymous)


def command(work: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"PYTHONPATH": str(PLACE / "code"), "CI": "true"}
    return subprocess.Popen(
        [sys.executable, "-m", "node_cli", *arguments], cwd=work, env=environment
    )


def finish(work: Path, *arguments: str) -> None:
    assert command(work, *arguments).wait(300) == 0, arguments


def interrupt(work: Path, *arguments: str) -> None:
    """Send SIGINT once an epoch is recorded."""
    process, epochs = command(work, *arguments), work / "interrupted" / "epochs.csv"
    while not epochs.exists() or epochs.read_text().count("\n") < 2:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


def prune(work: Path) -> None:
    """Leave what is read: no plots, no checkpoints of sweeps, no numbers that take room."""
    for plots in [*work.rglob("plots")]:
        shutil.rmtree(plots)
    for path in work.rglob("paths.csv"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    for path in [*work.rglob("*.pt")]:
        job, *inside = path.relative_to(work).parts
        if job in ("run", "fit") or (job, inside[-1]) == ("interrupted", "last.pt"):
            torch.save(rounded(torch.load(path, weights_only=True)), path)
        else:
            path.unlink()
    shutil.rmtree(work / "my")


def rounded(value: Any) -> Any:
    """The same with tensors of numbers rounded to eighths; the state of a generator stays."""
    if isinstance(value, torch.Tensor) and value.dtype.is_floating_point:
        return (value * 8).round() / 8
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else value


def anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owner and time."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main(sys.argv[1])
