"""Standard output, on a terminal and elsewhere."""

import os
import sys
import textwrap
from collections.abc import Mapping

from rich.console import Console


class Display:
    """Prints lines to standard output.

    ``live``: whether it is a terminal that can animate. ``width``: the columns of the terminal,
    None elsewhere.
    """

    def __init__(self) -> None:
        self.console = _Console(highlight=False, markup=False, soft_wrap=True)
        self.live = self.console.is_terminal and not os.environ.get("CI")
        self.width = self.console.width if self.console.is_terminal else None

    def line(self, text: str = "") -> None:
        """Print a line."""
        self.console.print(text)

    def report(self, text: str) -> None:
        """Print lines of Markdown; those that are longer than the terminal end between words."""
        for line in text.splitlines():
            wide = self.width is not None and len(line) > self.width and not line.startswith("|")
            for part in textwrap.wrap(line, self.width or 0) if wide else [line]:
                self.line(part)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Print a line ``name  value`` for each fact, the values aligned."""
        width = max(map(len, facts))
        for name, value in facts.items():
            self.line(f"{name:<{width}}  {value}")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on without output where its reader has gone (rich would exit)."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
