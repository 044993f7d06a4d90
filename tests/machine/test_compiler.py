"""compile=true: the same training, or a warning and the same training."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.ode.engines.compiled import function, packages
from tests.commands import Result
from tests.folders import same_weights
from tests.runs import go_on, run

SMALL = ("data.limit=150", "epochs=2", "batch_size=64")


def test_without_a_compiler_there_is_one_warning(
    node_train: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", missing)
    monkeypatch.setenv(packages.VARIABLE, str(tmp_path))  # where no trial has succeeded
    result = node_train("compile=true", *SMALL)
    assert result.code == 0
    assert result.err == ("compile=true: no working compiler, going on without (no C++ compiler)\n")


@pytest.mark.slow
@pytest.mark.usefixtures("_loops_write", "undrawn")
def test_a_resumed_run_takes_what_was_compiled(
    configure: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so ends with the same weights, to the last bit."""
    monkeypatch.setenv(packages.VARIABLE, str(tmp_path / "compiled"))
    torch.compiler.reset()
    whole = run(configure(*SMALL, "compile=true"), tmp_path / "whole")

    def refused(*_: object) -> Path:
        raise AssertionError("compiled anew")

    monkeypatch.setattr(function, "library_of", refused)
    monkeypatch.setattr(function, "JustInTime", refused)
    parts = run(configure(*SMALL, "compile=true", "epochs=1"), tmp_path / "parts")
    go_on(parts, epochs=2)
    assert same_weights(whole.last, parts.last)
