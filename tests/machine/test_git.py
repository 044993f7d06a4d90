"""Which program git is."""

import subprocess
import sys
from pathlib import Path

import pytest

from node_cli.machine.git import GIT, git

SCRIPT = """\
import os
from pathlib import Path
from node_cli.machine.git import GIT, git
os.environ["PATH"] = {folder!r}
if GIT is not None:
    git("--version", folder=Path.cwd())
"""


def fake_git(folder: Path) -> Path:
    program = folder / "git"
    program.write_text(f"#!/bin/sh\n/bin/touch {folder}/ran\n")
    program.chmod(0o755)
    return folder / "ran"


def test_a_path_set_after_the_start_is_not_searched(tmp_path: Path) -> None:
    ran = fake_git(tmp_path)
    subprocess.run([sys.executable, "-c", SCRIPT.format(folder=str(tmp_path))], check=True)
    assert not ran.exists()


def test_a_relative_folder_in_the_path_is_not_searched(tmp_path: Path) -> None:
    ran = fake_git(tmp_path)
    code = SCRIPT.format(folder=str(tmp_path))
    path = [str(Path(__file__).parents[2])]
    run = f"import sys; sys.path[:0] = {path!r}\n{code}"
    subprocess.run([sys.executable, "-c", run], check=True, cwd=tmp_path, env={"PATH": "."})
    assert not ran.exists()


@pytest.mark.skipif(GIT is None, reason="this machine has no git")
def test_a_file_that_git_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(subprocess.SubprocessError):
        git("ls-files", "--error-unmatch", "x", folder=tmp_path)
