"""A folder for the caches of libraries, where the home folder is not to be written to."""

import os
from pathlib import Path

from node_cli.machine.own_folder import own_folder


def own_caches() -> None:
    """Give matplotlib a folder of our own where it would make one for each process and say so: a
    user without a home, a read-only one. What the user has set stays."""
    if "MPLCONFIGDIR" in os.environ or _home_is_writable():
        return
    if (folder := own_folder()) is not None:
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
