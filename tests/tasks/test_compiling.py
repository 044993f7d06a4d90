"""compile=auto: where it compiles, and that a run which goes on stays as it began."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.machine import compiler
from node_cli.machine.device import Backend
from node_cli.records.run_folder import RunFolder
from node_cli.tasks import compiling
from tests.commands import NodeTrain

Configure = Callable[..., Config]

CPU = Backend(torch.device("cpu"), "float32", torch.float32)
LONG = "epochs=1819"  # of 11 batches: 20,009 steps, the fewest that are compiled


@pytest.mark.parametrize(
    ("overrides", "compiled"),
    [
        ([LONG], True),
        (["epochs=1818"], False),
        ([LONG, "train.accumulate=2", "sensitivity.vjp=compiled"], True),
        ([LONG, "train.max_seconds=1"], True),
        ([LONG, "model.core=none"], True),
        ([LONG, "regularize=[steer]"], True),
        ([LONG, "regularize=[kinetic]"], False),
        ([LONG, "solver.shared_steps=true"], False),
        (["data.limit=100", "epochs=30000"], False),
        (["data=spiral_linear", "model=linear_field", "epochs=20000"], True),
    ],
)
def test_auto_compiles_long_trainings_that_can_be(
    configure: Configure, overrides: list[str], compiled: bool
) -> None:
    config = configure("compile=auto", *overrides)
    assert compiling.choose(config, CPU, None) is compiled


def changed(config: Config, **values: Any) -> Config:
    return config.model_copy(update=values)


def test_auto_leaves_other_tasks_devices_and_parts_alone(configure: Configure) -> None:
    config = configure("compile=auto", LONG)
    theirs = changed(config, model=changed(config.model, field="theirs"))
    assert not compiling.choose(changed(config, task="eval"), CPU, None)
    assert not compiling.choose(theirs, CPU, None)
    mps = Backend(torch.device("mps"), "float32", torch.float32)
    assert not compiling.choose(config, mps, None)


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_typed_and_then_what_began_decides(configure: Configure, kept: bool) -> None:
    config = configure("compile=auto", LONG)
    assert compiling.choose(config, CPU, kept) is kept
    for typed in (False, True):
        assert compiling.choose(changed(config, compile=typed), CPU, kept) is typed


@pytest.mark.usefixtures("undrawn")
def test_a_resumed_run_stays_as_it_began(
    node_train: NodeTrain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where ``epochs=`` makes it long enough. Of a compiled one: ``test_compiler.py``."""
    compiled: list[str] = []
    monkeypatch.setattr(compiler, "compile_model", lambda *given: compiled.append(given[-1]))
    options = ["compile=auto", "data.limit=100", "batch_size=45", "epochs=1"]
    begun = node_train(*options, "hydra.run.dir=run")
    assert "\ndevice       cpu (1 thread), float32, not compiled\n" in begun.out
    monkeypatch.setattr(compiling, "FEWEST_STEPS", 4)
    resumed = node_train("resume=run", "epochs=2")
    assert (resumed.code, compiled) == (0, [])
    folder = RunFolder(tmp_path / "run")
    assert folder.read_result()["compiled"] is False
    assert torch.load(folder.last, weights_only=True)["compiled"] is False


def test_another_value_is_one_line(configure: Configure) -> None:
    with pytest.raises(UserError) as error:
        configure("compile=always")
    assert error.value.problems == ("compile=always: choose from false, true, auto",)
