"""Standard output, on a terminal and elsewhere."""

import os
import sys
from collections.abc import Mapping

from rich.console import Console


class Display:
    """Prints lines to standard output; ``live`` says whether it is a terminal that can animate."""

    def __init__(self) -> None:
        self.console = _Console(highlight=False, markup=False, soft_wrap=True)
        self.live = self.console.is_terminal and not os.environ.get("CI")

    def line(self, text: str = "") -> None:
        """Print a line."""
        self.console.print(text)

    def facts(self, facts: Mapping[str, str]) -> None:
        """Print a line ``name  value`` for each fact, the values aligned."""
        width = max(map(len, facts))
        for name, value in facts.items():
            self.line(f"{name:<{width}}  {value}")


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on without output where its reader has gone (rich would exit)."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
