"""Libraries have a folder for their caches, and so nothing to say about it."""

import os
from pathlib import Path

import pytest

from node_cli.cli.caches import own_caches


@pytest.mark.parametrize("home", ["missing/file/home", "home"])
def test_matplotlib_has_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / "file").touch()
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / home))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("MPLCONFIGDIR", "")  # so that it is given back
    monkeypatch.delenv("MPLCONFIGDIR")
    own_caches()
    if home == "home":
        assert "MPLCONFIGDIR" not in os.environ
    else:
        assert os.environ["MPLCONFIGDIR"] == str(tmp_path / f"node-train-{os.getuid()}")
        assert (tmp_path / f"node-train-{os.getuid()}").stat().st_mode & 0o777 == 0o700
