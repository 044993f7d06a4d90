"""Peak memory: a plausible figure, in MiB."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli.config.schema import Config
from tests.folders import rows
from tests.runs import run

resource = pytest.importorskip("resource")
Configure = Callable[..., Config]


def most_resident_mib() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def test_on_the_cpu_it_is_the_most_that_was_resident(configure: Configure, tmp_path: Path) -> None:
    """In the epoch, where the system can start anew; else in the process."""
    ballast = torch.ones(2**28, dtype=torch.uint8)
    with_ballast = most_resident_mib()
    del ballast
    folder = run(configure("data.limit=100", "epochs=2", "device=cpu"), tmp_path / "run")
    for row in rows(folder.epochs):
        peak = float(row["peak_memory_mib"])
        assert 50 < peak < 2**20
        assert (peak < with_ballast) == (sys.platform == "linux")


@pytest.mark.slow
def test_it_is_not_that_of_the_process_which_started_this_one() -> None:
    code = "import torch; from node_cli.machine.memory import peak_mib; "
    code += "print(peak_mib(torch.device('cpu')))"
    ballast = torch.ones(2**30, dtype=torch.uint8)
    found = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert float(found.stdout) < ballast.nbytes / 2**20
