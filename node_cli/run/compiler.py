"""torch.compile, where this machine has what it takes."""

from contextlib import AbstractContextManager, nullcontext

import torch

from node_cli.errors import complain, one_line
from node_cli.models.classifier import Classifier
from node_cli.run.device import Backend

# Graphs of the same piece of code: torch counts those of all modules of a class together.
MOST_GRAPHS = 64


def compile_model(model: Classifier, backend: Backend) -> None:
    """Compile the parts of a model; without a compiler leave it as it is, and say so.

    What an earlier model of this process has compiled is forgotten, so that it takes no part in the
    choice of graphs; what lies on the disk is used again.
    """
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = MOST_GRAPHS
    try:
        torch.compile(lambda x: x + 1, fullgraph=True)(torch.ones(1, device=backend.device))
    except Exception as error:  # whatever is missing
        complain(f"compile=true: no working compiler, going on without ({one_line(error)})")
        return
    model.compile_parts()


def for_batch(images: int, batch_size: int) -> AbstractContextManager[object]:
    """Keeps the compiler out of a batch of another size than most, the last of an epoch: a graph
    for it would take longer than it ever saves."""
    if images == batch_size:
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance
