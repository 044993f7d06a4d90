"""How OpenMP's threads wait for each other: set before torch is loaded, for the command alone."""

import os
import sys
from pathlib import Path

import pytest

from node_cli.cli.waiting import SPINS, USERS_OWN, short_waits
from tests.commands import NodeTrain, in_new_process


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU's OpenMP on Linux alone")
@pytest.mark.parametrize(
    ("users_own", "spins"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
def test_torch_is_loaded_with_short_waits_unless_the_user_says_otherwise(
    tmp_path: Path, users_own: dict[str, str], spins: str
) -> None:
    """OpenMP itself prints the settings that it has read."""
    arguments = ["task=eval", "checkpoint=nowhere"]  # torch is loaded to look for it
    result = in_new_process(*arguments, cwd=tmp_path, OMP_DISPLAY_ENV="VERBOSE", **users_own)
    assert result.code == 2
    assert f"GOMP_SPINCOUNT = '{spins}'" in result.err


def test_the_command_leaves_the_environment_as_it_was(node_train: NodeTrain) -> None:
    before = dict(os.environ)
    assert node_train("--version").code == 0
    assert dict(os.environ) == before


@pytest.mark.parametrize("name", USERS_OWN)
def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for other in USERS_OWN:
        monkeypatch.delenv(other, raising=False)
    with short_waits():
        assert os.environ["GOMP_SPINCOUNT"] == SPINS
    monkeypatch.setenv(name, "1")
    before = dict(os.environ)
    with short_waits():
        assert dict(os.environ) == before
    assert dict(os.environ) == before
