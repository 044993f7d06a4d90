"""What the tests of reports share."""

from pathlib import Path

import pytest

from tests.report.finished_runs import ACCURACIES, run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for solver, accuracies in ACCURACIES.items():
        for seed, accuracy in enumerate(accuracies):
            run(tmp_path / "runs" / solver / str(seed), solver, seed, accuracy)
    return tmp_path / "runs"
