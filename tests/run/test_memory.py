"""Peak memory: a plausible figure, in MiB."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from node_cli.config.schema import Config
from tests.run.folders import rows
from tests.run.runs import run

resource = pytest.importorskip("resource")
Configure = Callable[..., Config]


def most_resident_mib() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def test_on_the_cpu_it_is_the_most_that_was_resident(configure: Configure, tmp_path: Path) -> None:
    before = most_resident_mib()
    folder = run(configure("data.limit=100", "epochs=2", "device=cpu"), tmp_path / "run")
    first, second = (float(row["peak_memory_mib"]) for row in rows(folder.epochs))
    assert 50 < before <= first <= second <= most_resident_mib() < 2**20
