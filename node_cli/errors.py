"""The error that a user can mend: shown as plain lines without a traceback, exit code 2."""

import sys
from collections.abc import Sequence


class UserError(ValueError):
    """Bad input. Each of ``problems`` is a line with the key, the value and the valid choices."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems


def print_problems(error: UserError) -> None:
    for problem in error.problems:
        print(f"error: {problem}", file=sys.stderr)


def one_line(error: BaseException) -> str:
    """What an exception says, in one line; its type where it says nothing."""
    return " ".join((str(error) or type(error).__name__).split())
