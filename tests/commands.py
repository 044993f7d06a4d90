"""Running command lines, for tests."""

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from node_cli.cli.command import Job
from node_cli.cli.compose import Composer

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


def in_a_fork(command: Callable[[], int], said: Path) -> int:
    """Start a copy of this process, torch and all, that ends with the exit code of ``command``;
    return its process id. ``said``: the file for what it prints, both streams."""
    if pid := os.fork():
        return pid
    code = 99
    try:
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))
        code = command()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def composed(
    *overrides: str, multirun: bool = False, config_dir: Path | None = None
) -> Sequence[Job]:
    """The jobs of a command line, checked. Raises ``UserError``."""
    with Composer(config_dir=None if config_dir is None else str(config_dir)) as composer:
        return composer.command(composer.parse(overrides), multirun=multirun).jobs
