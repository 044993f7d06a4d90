"""A folder of the user's for what is not worth keeping. Free of torch."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def own_folder() -> Path | None:
    """Return a folder among the temporary files that belongs to this user alone, made where it is
    missing; None where it cannot be made, or is a stranger's."""
    if not hasattr(os, "getuid"):  # Windows
        return None
    folder = Path(tempfile.gettempdir()) / f"node-train-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid == os.getuid() and os.access(folder, os.W_OK):
            return folder
    return None
