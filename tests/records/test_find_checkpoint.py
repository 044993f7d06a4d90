"""Which checkpoint is meant: of a file, a run folder, its folder of checkpoints, a sweep."""

from pathlib import Path

import pytest

from node_cli.errors import UserError
from node_cli.records import checkpoints


def test_the_run_of_its_folder_of_checkpoints(tmp_path: Path) -> None:
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    best.parent.mkdir(parents=True)
    best.touch()
    for named in (best, best.parent, tmp_path / "run"):
        assert checkpoints.find(str(named)) == best


def test_a_sweep_has_several(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").touch()
    for job in ("0", "1"):
        (tmp_path / job).mkdir()
        (tmp_path / job / "status.json").touch()
    with pytest.raises(UserError, match=r"a sweep; name one of its runs \(0, 1\)"):
        checkpoints.find(str(tmp_path))
