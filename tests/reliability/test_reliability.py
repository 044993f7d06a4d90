"""A little of the harm, more where slow tests are run; docs/reliability.md has the counts."""

from pathlib import Path

import pytest

from node_cli.cli import jobs
from tests.reliability import files, kills, lines, signals
from tests.reliability.children import warmed


@pytest.fixture(autouse=True)
def _warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(jobs, "plot_run", jobs.plot_run)  # put back after the test
    warmed(tmp_path)


def test_a_little(tmp_path: Path) -> None:
    for kind, count in ((files.wrong, 1), (lines.in_process, 3)):
        assert kind(tmp_path, count).wrong == []


@pytest.mark.slow
def test_more_of_each(tmp_path: Path) -> None:
    for number, (kind, count) in enumerate(
        [
            *((files.mutated, 500), (files.wrong, 300)),
            *((lines.in_process, 5000), (lines.forked, 50)),
            *((signals.one, 20), (signals.storms, 20), (signals.outputs, 9)),
        ]
    ):
        where = tmp_path / str(number)
        where.mkdir()
        assert kind(where, count).wrong == []


@pytest.mark.slow
def test_kills(tmp_path: Path) -> None:
    assert kills.random_kills(tmp_path, 100).wrong == []
