"""torch.compile, where this machine has what it takes."""

import atexit
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from node_cli.errors import complain, one_line
from node_cli.machine.device import Backend
from node_cli.models.blocks import ODEBlock
from node_cli.models.model import Model

# Graphs of the same piece of code: torch counts those of all modules of a class together.
MOST_GRAPHS = 64


def compile_model(model: Model, backend: Backend) -> None:
    """Compile the parts of a model; without a compiler leave it as it is, and say so.

    What an earlier model of this process has compiled is forgotten, so that it takes no part in the
    choice of graphs; what lies on the disk is used again.
    """
    if backend.device.type == "mps":
        complain("compile=true: not on mps, which has no float64 for the time; going on without")
        return
    # Says in every process that a machine without a GPU has none.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = MOST_GRAPHS
    try:
        torch.compile(lambda x: x + 1, fullgraph=True)(torch.ones(1, device=backend.device))
    except Exception as error:  # whatever is missing
        complain(f"compile=true: no working compiler, going on without ({one_line(error)})")
        return
    solves = loops_write()
    if not solves and isinstance(model.core, ODEBlock):
        complain(f"compile=true: torch {torch.__version__} compiles no whole solves, only f, alone")
    model.compile_parts(solves=solves)


def loops_write() -> bool:
    """Whether this torch compiles loops that write into a buffer: 2.11 does not, 2.15 does."""

    @torch.no_grad()
    def fill(buffer: Tensor) -> Tensor:
        def write(i: Tensor) -> tuple[Tensor]:
            buffer.index_copy_(0, i.view(1), i.view(1))
            return (i + 1,)

        found: Tensor
        (found,) = torch.while_loop(lambda i: i < 2, write, (torch.zeros_like(buffer[0]),))
        return found

    try:
        torch.compile(fill, fullgraph=True, backend="eager")(torch.zeros(2, dtype=torch.int64))
    except torch._dynamo.exc.UncapturedHigherOrderOpError:
        return False
    return True


def settle() -> None:
    """To be called once all is compiled: the garbage collector stops visiting what the compiler has
    left, which takes as long as a hundred small steps each time."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)


@contextmanager
def for_batch(model: Model, images: int, batch_size: int) -> Iterator[None]:
    """Keeps the compiler out of a batch of another size than most, the last of an epoch: a graph
    for it would take longer than it ever saves."""
    if images == batch_size or not model.is_compiled:
        yield
    else:
        with torch.compiler.set_stance("force_eager"), model.core_uncompiled():
            yield
