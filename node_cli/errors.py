"""The error that a user can mend: shown as plain lines without a traceback, exit code 2."""

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress


class UserError(ValueError):
    """Bad input. Each of ``problems`` is a line with the key, the value and the valid choices."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


def check_all(*checks: Callable[[], object]) -> None:
    """Run every check; raise one ``UserError`` with the problems of all of them."""
    problems: list[str] = []
    for check in checks:
        try:
            check()
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*dict.fromkeys(problems))


def print_problems(error: UserError) -> None:
    for problem in error.problems:
        complain(f"error: {problem}")


def complain(text: str) -> None:
    """Print to standard error in one line, whatever characters a user's value brought along."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    with suppress(OSError, ValueError):  # a terminal that is gone, a log on a full disk
        print(line, file=sys.stderr, flush=True)


def one_line(error: BaseException) -> str:
    """What an exception says, in one line; its type where it says nothing."""
    return " ".join((str(error) or type(error).__name__).split())


def out_of_memory(error: BaseException) -> str | None:
    """The line for an error that says that memory is used up, of the host or of a device; None for
    any other error."""
    text = str(error)
    words = [
        *("can't allocate memory", "not enough memory", "out of memory", "bad_alloc"),
        "_ALLOC_FAILED",  # of cuBLAS and cuDNN
    ]
    is_one = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not is_one and not (isinstance(error, RuntimeError) and any(w in text for w in words)):
        return None
    tried = re.search(r"tried to allocate ([\d.]+ ?\w+)", text, re.IGNORECASE)
    size = f" (tried to allocate {_in_units(tried[1])})" if tried else ""
    return (
        f"out of memory{size}; what helps: a smaller batch_size or eval.batch_size, "
        "sensitivity=checkpointed or backsolve, a smaller model"
    )


def _in_units(size: str) -> str:
    """A number of bytes in MiB; another size as it is."""
    number, _, unit = size.replace("bytes", " bytes").partition(" ")
    return f"{int(number) / 2**20:,.0f} MiB" if unit.strip() == "bytes" else size
