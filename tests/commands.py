"""Running command lines, for tests."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node_cli.cli.compose import Composer, Job

QUICK = ["data.limit=150", "epochs=1"]


@dataclass
class Result:
    code: int
    out: str
    err: str


NodeTrain = Callable[..., Result]


def in_new_process(*arguments: str, cwd: Path, **environment: str) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "node_cli", *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def composed(
    *overrides: str, multirun: bool = False, config_dir: Path | None = None
) -> Sequence[Job]:
    """The jobs of a command line, checked. Raises ``UserError``."""
    with Composer(config_dir=None if config_dir is None else str(config_dir)) as composer:
        return composer.command(composer.parse(overrides), multirun=multirun).jobs
