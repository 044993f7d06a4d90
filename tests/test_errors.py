"""What is told in one line."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from node_cli.errors import out_of_memory
from node_cli.learn.loop import Trainer
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import execute

CPU = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you "
    "tried to allocate 1048576000 bytes. Error code 12 (Cannot allocate memory)"
)
CUDA = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79 GiB"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError(CPU), "out of memory (tried to allocate 1,000 MiB); what helps: a smaller"),
        (torch.OutOfMemoryError(CUDA), "out of memory (tried to allocate 20.00 GiB); what helps"),
        (MemoryError(), "out of memory; what helps: a smaller batch_size"),
        (RuntimeError("std::bad_alloc"), "out of memory; what helps"),
    ],
)
def test_memory_that_is_used_up(error: BaseException, message: str) -> None:
    assert str(out_of_memory(error)).startswith(message)


def test_other_errors() -> None:
    assert out_of_memory(RuntimeError("shapes")) is None
    assert out_of_memory(ValueError("out of memory")) is None


@pytest.mark.parametrize("where", ["_update", "__init__"])
def test_a_run_out_of_memory(
    configure: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    where: str,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(CPU)

    monkeypatch.setattr(Trainer, where, fail)
    folder = RunFolder(tmp_path)
    execute(configure("data.limit=100", "epochs=1"), folder, [])
    status = folder.read_status()
    assert (status["status"], status["exit_code"]) == ("failed", 1)
    assert status["reason"].startswith("out of memory (tried to allocate 1,000 MiB)")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_limit_of_the_shell(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    arguments = ["model=conv", "batch_size=1400", "epochs=1", "hydra.run.dir=run"]
    done = subprocess.run(
        [sys.executable, "-m", "node_cli", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "out of memory" in done.stderr
    assert "Traceback" not in done.stderr
