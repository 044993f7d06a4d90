"""Several processes that choose the steps of one: ``solver.shared_steps``."""

from collections.abc import Callable
from math import nan
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.records.run_folder import RunFolder
from tests.commands import NodeTrain
from tests.folders import weights
from tests.ranks import SHARED, SMALL, assert_equal, one_process, together

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.parametrize(
    "sensitivity",
    [
        *("discrete", pytest.param("checkpointed", marks=pytest.mark.slow)),
        pytest.param("gauss", marks=pytest.mark.slow),
        pytest.param("interpolating", marks=pytest.mark.slow),
        pytest.param("backsolve sensitivity.norm=seminorm", marks=pytest.mark.slow),
    ],
)
def test_shared_steps_are_those_of_one_process(
    sensitivity: str, node_train: NodeTrain, tmp_path: Path
) -> None:
    """With a process that no image of the last batch is left for. The counts are equal, and the
    weights but for rounding: a step size is a power of the rounded error."""
    typed = [*SMALL, *SHARED, "epochs=1", "batch_size=16", *f"sensitivity={sensitivity}".split()]
    one = one_process(tmp_path, node_train, *typed)
    results = together(2, *typed, folder=tmp_path)
    assert [r.code for r in results] == [0, 0], results
    assert_equal(one, RunFolder(tmp_path / "run"))


@pytest.mark.slow
def test_shared_steps_fail_together(tmp_path: Path) -> None:
    """Where the numbers of one process are not finite, none waits for it."""

    def spoil(rank: int) -> None:
        if rank == 1:
            from node_cli.models.blocks import ODEBlock

            solve = ODEBlock.solve
            ODEBlock.solve = lambda self, field, y, *more: solve(self, field, y * nan, *more)

    first, second = together(2, *SMALL, *SHARED, "batch_size=16", folder=tmp_path, before=spoil)
    assert (first.code, second.code) == (1, 1)
    assert "is not finite where a step begins" in first.out


@pytest.mark.slow
def test_each_process_has_steps_of_its_own(node_train: NodeTrain, tmp_path: Path) -> None:
    """By default: then the weights differ, by about the error that the tolerance allows."""
    typed = [*SMALL, *SHARED, "solver.shared_steps=false", "batch_size=16"]
    one = one_process(tmp_path, node_train, *typed)
    assert together(2, *typed, folder=tmp_path)[0].code == 0
    several = RunFolder(tmp_path / "run")
    with pytest.raises(AssertionError):
        assert_equal(one, several, tolerance=1e-9)
    for name, value in weights(one.last).items():
        assert torch.allclose(value, weights(several.last)[name], 0, 1e-4), name


@pytest.mark.slow
def test_shared_steps_with_penalties_and_four_processes(tmp_path: Path) -> None:
    """All come to an end, and so have made the same steps."""
    typed = [*SMALL, *SHARED, "batch_size=16", "regularize=[kinetic,error,steer,local]"]
    results = together(4, *typed, folder=tmp_path)
    assert [r.code for r in results] == [0] * 4, results


@pytest.mark.parametrize(
    "typed",
    [
        ["compile=true"],
        ["sensitivity=backsolve"],
        ["sensitivity=interpolating", "sensitivity.solver=scipy"],
    ],
)
def test_steps_that_cannot_be_shared(typed: list[str], configure: Callable[..., Config]) -> None:
    with pytest.raises(UserError, match=r"solver\.shared_steps=true: not with "):
        configure("solver.shared_steps=true", *typed)
