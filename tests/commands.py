"""Running command lines, for tests."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
