"""The program git, as it was found when the process started.

Imported at the door, before Hydra composes anything: nothing that a configuration does to the
environment afterwards decides which program is run.
"""

import os
import shutil
import subprocess
from pathlib import Path


def _found() -> str | None:
    """The absolute path of git; None where there is none, or PATH has it in a relative folder."""
    path = shutil.which("git")
    return path if path is not None and Path(path).is_absolute() else None


GIT = _found()
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


def git(*arguments: str, folder: Path) -> str:
    """What git prints. Raises OSError where there is no git, and ``subprocess.SubprocessError``
    where it fails or takes ten seconds."""
    if GIT is None:
        raise FileNotFoundError("git")
    # A repository's own configuration can name a program that tells which files have changed.
    done = subprocess.run(
        [GIT, "-c", "core.fsmonitor=false", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()
