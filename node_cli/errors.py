"""The error that a user can mend: shown as plain lines without a traceback, exit code 2."""

from collections.abc import Sequence


class UserError(ValueError):
    """Bad input. Each of ``problems`` is a line with the key, the value and the valid choices."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: Sequence[str] = problems
