"""compile=true or auto: the same training, or a warning and the same training."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.ode.engines.compiled import function, packages
from node_cli.tasks import compiling
from tests.commands import Result
from tests.folders import same_weights
from tests.runs import go_on, run

SMALL = ("data.limit=150", "epochs=2", "batch_size=64")


@pytest.mark.usefixtures("undrawn")
def test_without_a_compiler_there_is_one_warning(
    node_train: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", missing)
    monkeypatch.setenv(packages.VARIABLE, str(tmp_path))  # where no trial has succeeded
    monkeypatch.setattr(compiling, "FEWEST_STEPS", 6)
    result = node_train("-m", "compile=true,auto", *SMALL)
    assert result.code == 0
    assert result.err == "".join(
        f"compile={asked}: no working compiler, going on without (no C++ compiler)\n"
        for asked in ("true", "auto")
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_loops_write", "undrawn")
def test_a_resumed_run_takes_what_was_compiled(
    configure: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so ends with the same weights, to the last bit; under ``auto``, too, which had compiled
    it and would not now."""
    monkeypatch.setenv(packages.VARIABLE, str(tmp_path / "compiled"))
    torch.compiler.reset()
    whole = run(configure(*SMALL, "compile=true"), tmp_path / "whole")

    def refused(*_: object) -> Path:
        raise AssertionError("compiled anew")

    monkeypatch.setattr(function, "library_of", refused)
    monkeypatch.setattr(function, "JustInTime", refused)
    monkeypatch.setattr(compiling, "FEWEST_STEPS", 3)
    parts = run(configure(*SMALL, "compile=auto", "epochs=1"), tmp_path / "parts")
    monkeypatch.setattr(compiling, "FEWEST_STEPS", 10_000)
    go_on(parts, epochs=2)
    assert parts.read_result()["compiled"]
    assert same_weights(whole.last, parts.last)
