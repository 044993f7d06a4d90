"""Several processes that train one model, as torchrun starts them, for tests."""

import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch._dynamo  # noqa: F401, which every run imports, and a fork then has

from node_cli.cli.main import main
from tests.commands import Result, in_a_fork


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
