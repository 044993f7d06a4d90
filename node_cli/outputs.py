"""Standard output and error, which may fail: a terminal that is gone, a log on a full disk.

A run never dies of its printing: after a failure what is printed is lost, and the run goes on.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

FAILURES = (OSError, ValueError)  # ValueError: the stream is closed


class Tolerant:
    """A stream that fails once, and from then on writes to nowhere. ``failure``: the error."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.failure: Exception | None = None

    def write(self, text: str) -> int:
        """Write text; it is lost where the stream fails."""
        if self.failure is None:
            try:
                return self.stream.write(text)
            except FAILURES as error:
                self._give_up(error)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write lines, as ``write`` does."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write out what is buffered; it is lost where the stream fails."""
        if self.failure is None:
            try:
                self.stream.flush()
            except FAILURES as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.failure = error
        with suppress(*FAILURES):  # what is buffered is written out at exit, which would fail
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def failure_in_words(error: Exception) -> str:
    """What a stream's failure is called."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


@contextmanager
def tolerant_outputs() -> Iterator[tuple[Tolerant, Tolerant]]:
    """Within the context, standard output and error are ``Tolerant``; also where they were closed
    from the start."""
    _occupy_closed()
    before = sys.stdout, sys.stderr
    outputs = Tolerant(sys.stdout), Tolerant(sys.stderr)
    sys.stdout, sys.stderr = outputs
    try:
        yield outputs
    finally:
        for output in outputs:
            output.flush()
        sys.stdout, sys.stderr = before


def _occupy_closed() -> None:
    """Open what was closed: else a record gets the number of standard error, and whatever libraries
    print there goes into it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
