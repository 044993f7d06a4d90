"""The process that joblib's workers are forked from."""

import subprocess
import sys
from multiprocessing import forkserver
from typing import Any

import pytest

from node_cli.cli import workers

LOADED = """
import os, sys, torch
calls = []
for name in ("is_available", "device_count", "_lazy_init", "init"):
    setattr(torch.cuda, name, lambda *_, name=name: calls.append(name) or 0)
import node_cli.cli.preloaded
print(len(os.listdir("/proc/self/task")), calls)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_it_has_one_thread_and_has_not_touched_a_gpu() -> None:
    """A fork has the thread that made it alone, and CUDA does not work in a fork of a process that
    has used it."""
    ran = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True)
    assert ran.stdout == "1 []\n", ran.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
@pytest.mark.parametrize(
    ("at_once", "set_by_user", "threads"),
    [([], None, "1"), (["hydra.launcher.n_jobs=2"], None, "4"), ([], "3", "3")],
)
def test_the_cores_are_divided(
    monkeypatch: pytest.MonkeyPatch, at_once: list[str], set_by_user: str | None, threads: str
) -> None:
    """Between as many jobs as run at once: by default one for each core. What the user says
    holds."""
    found: list[Any] = []
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    monkeypatch.setattr("joblib.effective_n_jobs", lambda n: 8 if n == -1 else n)
    monkeypatch.setattr(
        forkserver, "ensure_running", lambda: found.append(workers.os.environ["OMP_NUM_THREADS"])
    )
    monkeypatch.setattr("joblib.externals.loky.backend.context._DEFAULT_START_METHOD", None)
    monkeypatch.delenv("OMP_NUM_THREADS")
    if set_by_user:
        monkeypatch.setenv("OMP_NUM_THREADS", set_by_user)
    workers.begin([workers.LAUNCHER, *at_once])
    assert found == [threads]
    assert workers.os.environ.get("OMP_NUM_THREADS") == set_by_user
    workers.begin(["seed=1,2"])
    assert found == [threads]
