"""compile=true: the same training, or a warning and the same training."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.ode.engines.compiled import packages
from tests.commands import Result

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
