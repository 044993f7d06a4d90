"""Several processes that train one model, as torchrun starts them, for tests."""

import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch._dynamo

from node_cli.cli.main import main
from node_cli.records.run_folder import RunFolder
from tests.commands import NodeTrain, Result, in_a_fork
from tests.folders import TIMES_AND_MEMORY, rows

FIXED = ["solver=rk4", "solver.n_steps=2", "precision=float64"]
SHARED = ["solver=bosh3", "solver.tol=1e-3", "solver.shared_steps=true", "precision=float64"]
SMALL = ["device=cpu", "data.limit=90", "data.holdout=0.1", "epochs=2", "hydra.run.dir=run"]


def start(
    count: int, arguments: Sequence[str], folder: Path, before: Callable[[int], None] | None = None
) -> list[int]:
    """Start a command line in so many copies of this process; return their process ids.

    ``folder``: where they work; ``before``: called first, with the rank. What a process prints goes
    into ``rank0.log``, ``rank1.log``, ... of the folder.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def command(rank: int) -> int:
        os.chdir(folder)
        os.environ |= {
            **{"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            **{"RANK": str(rank), "LOCAL_RANK": str(rank)},
            **{"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)},
        }
        sys.argv = ["node-train", *arguments]
        if before:
            before(rank)
        return main()

    return [
        in_a_fork(lambda rank=rank: command(rank), folder / f"rank{rank}.log")  # type: ignore[misc]
        for rank in range(count)
    ]


def ended(pids: Sequence[int], folder: Path) -> list[Result]:
    """Wait for processes of ``start``; return the exit code (minus a signal) and output of each."""
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    said = [(folder / f"rank{rank}.log").read_text() for rank in range(len(pids))]
    return [Result(code, text, "") for code, text in zip(codes, said, strict=True)]


def together(
    count: int, *arguments: str, folder: Path, before: Callable[[int], None] | None = None
) -> list[Result]:
    """Run a command line in so many processes to its end."""
    for log in folder.glob("rank*.log"):
        log.unlink()
    return ended(start(count, arguments, folder, before), folder)


def one_process(folder: Path, node_train: NodeTrain, *arguments: str) -> RunFolder:
    """The run of one process, in a folder beside."""
    found = folder / "one"
    assert node_train(*arguments, f"hydra.run.dir={found}").code == 0
    return RunFolder(found)


def assert_equal(one: RunFolder, several: RunFolder, tolerance: float = 1e-12) -> None:
    """Weights and records are those of one process, times and memory aside, and the drift, which is
    a norm over the images of a process."""
    a, b = (torch.load(run.last, weights_only=True) for run in (one, several))
    for name, value in a["model"].items():
        assert torch.allclose(value.double(), b["model"][name].double(), 0, tolerance), name
    for key in ("progress", "first_steps", "inputs"):
        left, right = a[key], b[key]
        if key == "progress":
            left, right = left | {"sums": None}, right | {"sums": None}
        assert left == right
    for file in ("steps.csv", "epochs.csv", "evaluations.csv"):
        for left, right in zip(rows(one.path / file), rows(several.path / file), strict=True):
            for column, cell in left.items():
                if "drift" in column or column in TIMES_AND_MEMORY:
                    continue
                if cell == right[column]:
                    continue
                error = abs(float(cell) - float(right[column]))
                assert error <= 100 * tolerance * max(1.0, abs(float(cell))), (file, column)
