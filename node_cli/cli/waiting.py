"""How long OpenMP's threads spin while they wait for each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

USERS_OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
SPINS = "4000"


@contextmanager
def short_waits() -> Iterator[None]:
    """Within it, torch is loaded with threads that soon sleep while they wait.

    GNU's OpenMP, which torch brings on Linux, reads its settings once, when torch is loaded; hence
    through the environment, before that. Processes started within inherit it; on leaving, the
    environment is as before. Where the user has said how to wait (``USERS_OWN``), nothing is set.

    By default a thread spins for 300,000 turns (7.5 ms) at the end of every layer, also while the
    thread that it waits for has no core, since another process has it. Asleep at once
    (OMP_WAIT_POLICY=PASSIVE), it has to be woken for every layer. The number here, 0.1 ms, is about
    what waking takes, so that neither costs much more than the better one.

    Measured on two cores, a training step of ``model=conv`` with two threads against one thread:
    alone (fastest of 4 blocks) 0.57 with 300,000 turns, 0.63 with 10,000, 0.68 with 3,000, 1.2 with
    1,000, 1.1 asleep at once; beside some nine busy processes (median of 4 rounds) 6.0 with
    300,000, 2.0 with 16,000, 1.6 with 4,000, 1.1 with 1,000 or asleep at once.
    """
    if any(name in os.environ for name in USERS_OWN):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        os.environ.pop("GOMP_SPINCOUNT", None)
