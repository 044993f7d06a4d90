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
    what waking takes: then neither costs more than twice the better one. Measured on two cores,
    milliseconds of a training step of ``model=conv`` with two threads, medians in one run:

    ===============  =======  ================
    turns            alone    beside another
    ===============  =======  ================
    300,000          274      5,300
    10,000           281      3,000
    3,000            295      2,600
    1,000            510
    0                490
    (one thread)     430-470  1,400-2,300
    ===============  =======  ================
    """
    if any(name in os.environ for name in USERS_OWN):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        os.environ.pop("GOMP_SPINCOUNT", None)
