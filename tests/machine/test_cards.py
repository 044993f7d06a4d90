"""One job per GPU."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from node_cli.machine import cards
from node_cli.machine.cards import ours, own_card
from tests.pretend_cuda import pretended_cuda


@pytest.fixture(autouse=True)
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(cards, "PAUSE", 0.01)


def test_each_job_has_a_card_of_its_own_and_further_ones_wait() -> None:
    """Jobs are processes; a lock that is taken twice in one process is refused all the same."""
    told: list[str] = []
    with pretended_cuda(2), own_card("auto", told.append):
        assert ours() == 0
        second = cards._free(cards.own_folder())  # type: ignore[arg-type]
        assert second is not None and second[0] == 1
        waiting = threading.Thread(target=lambda: cards._wait(cards.own_folder(), told.append))  # type: ignore[arg-type]
        waiting.start()
        waiting.join(0.1)
        assert waiting.is_alive()
        assert told == ["waiting for a free GPU, of 2"]
        cards.os.close(second[1])
        waiting.join(5)
        assert not waiting.is_alive()
    assert ours() is None


def test_a_card_is_free_again_however_its_job_has_ended(tmp_path: Path) -> None:
    lock = tmp_path / f"node-train-{cards.os.getuid()}" / "gpu-pretended-0.lock"
    lock.parent.mkdir(mode=0o700)
    hold = f"import fcntl; f = open({str(lock)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(); "
    job = subprocess.Popen(
        [sys.executable, "-c", hold + "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert job.stdout is not None and job.stdin is not None
    job.stdout.readline()
    with pretended_cuda(2), own_card("cuda", print):
        assert ours() == 1
    job.kill()
    job.wait()
    job.stdout.close()
    job.stdin.close()
    with pretended_cuda(2), own_card("cuda", print):
        assert ours() == 0


@pytest.mark.parametrize("device", ["cpu", "cuda:1", "mps"])
def test_a_card_that_is_named_is_not_waited_for(device: str) -> None:
    with pretended_cuda(1), own_card(device, print):
        assert ours() is None


def test_a_job_computes_on_its_card(configure, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from node_cli.machine.device import choose

    config = configure("device=cuda")
    with pretended_cuda(2), own_card("cuda", print), own_card("cuda", print):
        assert choose(config).device == torch.device("cuda", 1)
    with pretended_cuda(2):
        assert choose(config).device == torch.device("cuda")
