"""Standard output, on a terminal and elsewhere: text, or one line alone, or JSON."""

import json
import math
import os
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, Literal, TextIO

from rich.console import Console

Manner = Literal["quiet", "json"]

VARIABLE = "NODE_TRAIN_OUTPUT"
"""By which the processes of a launcher learn of the manner."""


class Display:
    """Prints lines to standard output.

    ``live``: whether it is a terminal that can animate. ``width``: the columns of the terminal,
    None elsewhere.
    """

    def __init__(self) -> None:
        self.console = _Console(highlight=False, markup=False, soft_wrap=True)
        self.live = self.console.is_terminal and not os.environ.get("CI")
        self.width = self.console.width if self.console.is_terminal else None
        self._told: dict[str, str] = {}
        self._spoke = time.monotonic()

    @property
    def silent_for(self) -> float:
        """Seconds since the last line."""
        return time.monotonic() - self._spoke

    def line(self, text: str = "", hanging: int = 0) -> None:
        """Print a line; one that is longer than the terminal ends between words, and what follows
        is indented by ``hanging``. Rows of tables stay as they are."""
        if self.width is not None and len(text) > self.width and not text.startswith("|"):
            wrapper = textwrap.TextWrapper(
                self.width,
                subsequent_indent=" " * hanging,
                break_long_words=False,
                break_on_hyphens=False,
            )
            text = "\n".join(wrapper.fill(line) for line in text.splitlines())
        self._spoke = time.monotonic()
        self.console.print(text)

    def report(self, text: str) -> None:
        """Print lines of Markdown."""
        for line in text.splitlines():
            self.line(line)

    def news(self, facts: Mapping[str, str]) -> None:
        """Print those facts that are not as they were told last, as of the jobs of a sweep."""
        self.facts({name: value for name, value in facts.items() if self._told.get(name) != value})
        self._told = dict(facts)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Print a line ``name  value`` for each fact, the values aligned."""
        width = max(map(len, facts))
        for name, value in facts.items():
            self.line(f"{name:<{width}}  {value}", hanging=width + 2)


class _Output:
    """``stream``: standard output while text goes nowhere; ``quiet``: whether JSON does, too."""

    def __init__(self) -> None:
        self.quiet = False
        self.stream: TextIO | None = None


_OUTPUT = _Output()


@contextmanager
def printing(manner: Manner | None = None) -> Iterator[None]:
    """Within it standard output has nothing but what ``last_line`` is given (``quiet``), or what
    ``tell`` is given (``json``); without either, text.

    ``manner``: None for that of the process that has started this one.
    """
    inherited = os.environ.get(VARIABLE)
    chosen = manner or inherited
    if _OUTPUT.stream is not None or chosen not in ("quiet", "json"):
        yield
        return
    os.environ[VARIABLE] = chosen
    _OUTPUT.quiet, _OUTPUT.stream = chosen == "quiet", sys.stdout
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        _OUTPUT.stream = None
        del os.environ[VARIABLE]
        if inherited is not None:
            os.environ[VARIABLE] = inherited


def speaks_json() -> bool:
    """Whether standard output has JSON."""
    return _OUTPUT.stream is not None and not _OUTPUT.quiet


def tell(event: str, **facts: Any) -> None:
    """Print a JSON object in a line, where standard output has JSON. A number that is not finite
    becomes null."""
    if speaks_json():
        print(json.dumps(_plain({"event": event, **facts})), file=_OUTPUT.stream, flush=True)


def last_line(text: object) -> None:
    """Print a line where standard output has nothing else."""
    if _OUTPUT.stream is not None and _OUTPUT.quiet:
        print(text, file=_OUTPUT.stream, flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on without output where its reader has gone (rich would exit)."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
