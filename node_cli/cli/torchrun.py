"""A command that torchrun has started in several processes: the first one answers it."""

import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from node_cli.errors import UserError

# What is typed for anything but one training.
NO_TRAINING = (
    *("-m", "--multirun", "table=", "report=", "report", "new", "--dry-run"),
    *("-c", "--cfg", "-i", "--info", "-sc", "--shell-completion"),
)


def processes() -> int:
    """How many processes torchrun has started; 1 where it has started none."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def answered(answer: Callable[[], int]) -> int:
    """Call ``answer`` and return its exit code. Of several processes the first one does; the others
    are silent, train along with what it trains, and return its exit code, or 1 where it has gone.

    Raises ``UserError`` where the processes do not meet.
    """
    if processes() == 1:
        return answer()
    from node_cli.machine.ranks import RankLost, joined

    with joined() as ranks:
        if not ranks.first:
            from node_cli.tasks.along import train_along

            with (
                Path(os.devnull).open("w", encoding="utf-8") as nowhere,
                redirect_stdout(nowhere),
                redirect_stderr(nowhere),
            ):
                return train_along(ranks)
        code = 1
        try:
            code = answer()
        finally:
            with suppress(RankLost):
                ranks.tell(code)
        return code


def check_typed(arguments: Sequence[str]) -> None:
    """Raise ``UserError`` where several processes are to do anything but one training."""
    if (count := processes()) == 1:
        return
    for word in arguments:
        key = word.lstrip("+").partition("=")
        if word in NO_TRAINING or "".join(key[:2]) in NO_TRAINING:
            raise UserError(f"torchrun: {word}: is for one process, there are {count}")
