"""A folder for the caches of libraries, where the home folder is not to be written to."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def own_caches() -> None:
    """Give matplotlib a folder of our own where it would make one for each process and say so: a
    user without a home, a read-only one. What the user has set stays."""
    if "MPLCONFIGDIR" in os.environ or _home_is_writable() or not hasattr(os, "getuid"):
        return
    folder = Path(tempfile.gettempdir()) / f"node-train-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid == os.getuid():  # not a stranger's
            os.environ["MPLCONFIGDIR"] = str(folder)


def _home_is_writable() -> bool:
    try:
        folders = (Path.home() / ".config" / "matplotlib", Path.home() / ".cache" / "matplotlib")
        return all(_can_write(folder) for folder in folders)
    except (OSError, RuntimeError):  # no home
        return False


def _can_write(folder: Path) -> bool:
    """Whether a folder, or the first one above it that is there, can be written to."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK)
