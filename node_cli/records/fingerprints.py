"""What the records of a run were when its checkpoint was made, so that a digit that changes
afterwards, by a disk or in an editor, is noticed at resume."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from node_cli.errors import UserError


class Fingerprints:
    """The lengths and hashes of files that only grow. Files that do not exist are left out."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._hashes = {path: hashlib.sha256() for path in paths}
        self._read = dict.fromkeys(self._hashes, 0)

    def take(self) -> dict[str, dict[str, Any]]:
        """Return ``{file name: {"bytes", "sha256"}}``. Cost: reads what has come since the last
        time. Raises OSError."""
        taken: dict[str, dict[str, Any]] = {}
        for path, digest in self._hashes.items():
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(self._read[path])
                added = file.read()
            digest.update(added)
            self._read[path] += len(added)
            taken[path.name] = {"bytes": self._read[path], "sha256": digest.hexdigest()}
        return taken


def check_fingerprints(paths: Iterable[Path], taken: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ``UserError`` where a file no longer begins with what ``Fingerprints.take`` found."""
    for path in paths:
        if (before := taken.get(path.name)) is None:
            continue
        content = path.read_bytes()[: before["bytes"]] if path.exists() else b""
        if hashlib.sha256(content).hexdigest() != before["sha256"]:
            raise UserError(
                f"{path}: changed since the checkpoint was made; put the file back as it was"
            )
