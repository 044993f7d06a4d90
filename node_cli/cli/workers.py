"""The processes in which joblib runs the jobs of a sweep: forked from one that has loaded torch.

Loading torch and all else takes a process some seconds of one core, as long as a short job. So on
Linux one process loads it, while this one looks at the jobs, and joblib's workers are forks of that
one (the fork server of ``multiprocessing``). It has a single thread and has not touched a GPU,
hence its forks may use both as any process may. Elsewhere, and where a file chooses joblib, every
worker loads everything anew.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from functools import cache
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from threading import Thread

from node_cli.cli.overrides import key_of

LAUNCHER = "hydra/launcher=joblib"
AT_ONCE = "hydra.launcher.n_jobs"

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""By which the libraries of a process learn how many threads it may occupy."""


def begin(overrides: Sequence[str]) -> None:
    """Start the process that workers are forked from, where what was typed asks for joblib. It
    loads all that a job needs while this one goes on; further calls change nothing."""
    if LAUNCHER not in overrides or sys.platform != "linux":
        return
    import joblib
    from joblib.externals.loky.backend.context import set_start_method

    set_start_method("forkserver", force=True)
    multiprocessing.set_forkserver_preload(["node_cli.cli.preloaded"])
    typed = {key_of(o): o.partition("=")[2] for o in overrides}
    try:
        at_once = joblib.effective_n_jobs(int(typed.get(AT_ONCE, "-1")))
    except ValueError:  # which is told where all is checked
        return
    each = max(1, joblib.cpu_count() // at_once)
    ours = {name: str(each) for name in THREADS if name not in os.environ}
    os.environ.update(ours)
    try:
        forkserver.ensure_running()
    finally:
        for name in ours:
            del os.environ[name]


@cache
def end_with_command() -> None:
    """From now on this worker ends when the command that it works for does, though it be killed: a
    job that runs then writes its checkpoint. In any other process nothing happens."""
    if (command := multiprocessing.parent_process()) is not None:
        Thread(target=_follow, args=(command,), daemon=True).start()


def _follow(command: BaseProcess) -> None:
    command.join()
    os.kill(os.getpid(), signal.SIGTERM)
    while signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # the job has not ended yet
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
