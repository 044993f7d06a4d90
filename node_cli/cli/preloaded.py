"""All that a job imports, for the process that workers are forked from: see ``workers``.

Importing it must neither start a thread nor touch a GPU (``tests/cli/test_workers.py``).
"""

import gc
import signal
from importlib import import_module

from node_cli.machine.garbage import collection

MODULES = (
    *("torch", "torch._dynamo", "torch.utils.flop_counter"),  # the first optimizer needs dynamo
    *("sklearn.datasets", "matplotlib.backends.backend_agg"),
    *("node_cli.cli.hydra_app", "node_cli.cli.jobs", "node_cli.tasks.train"),
)

# Ctrl-C goes to every process of a terminal, and this one has nothing to stop. Its forks take
# signals as any new process does.
signal.signal(signal.SIGINT, signal.SIG_IGN)
with collection(on=False):
    for name in MODULES:
        import_module(name)
gc.freeze()  # no collection of a fork goes through them
signal.signal(signal.SIGINT, signal.default_int_handler)
