"""torch.compile: whether it works here, and how it is used."""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from node_cli.errors import complain, one_line
from node_cli.machine.device import Backend
from node_cli.models.model import Model
from node_cli.ode.engines.compiled import packages

CPU = torch.device("cpu")

# The most graphs of one piece of code; torch counts those of all modules of a class together.
MOST_GRAPHS = 64


def compile_model(model: Model, backend: Backend, asked: str = "compile=true") -> None:
    """Compile the parts of a model; where there is no working compiler, say so and change nothing.

    Graphs of an earlier model in this process are forgotten first, so that they do not influence
    which graphs are compiled; the cache on disk stays in use. Cost: a trial compilation, once on a
    machine; the parts are compiled at their first use. ``asked``: what asks for it, as it is typed.
    """
    if backend.device.type == "mps":
        complain(f"{asked}: not on mps, which has no float64 for the time; going on without")
        return
    # It warns in every process on a machine without a GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = MOST_GRAPHS
    # Else torch tries every set of vector instructions by a compilation, for ten seconds.
    torch._inductor.config.cpp.vec_isa_ok = True
    name = packages.name_of("trial", str(backend.device), *_compiler())
    solves = packages.answer(name)
    if solves is None:
        try:
            solves = _trial(backend.device)
        except Exception as error:  # of many types: no C++ compiler, no Triton, ...
            complain(f"{asked}: no working compiler, going on without ({one_line(error)})")
            return
        packages.keep_answer(name, solves)
    if not solves and model.ode_blocks:
        complain(f"{asked}: torch {torch.__version__} compiles no whole solves, only f, alone")
    model.compile_parts(solves=solves)


def _compiler() -> Iterator[str]:
    """What tells one compiler from another: names, places and times of its files."""
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        if name and (path := shutil.which(name)):
            yield f"{path} {Path(path).stat().st_mtime_ns}"


def _trial(device: torch.device) -> bool:
    """Compile something, and return whether whole solves can be. Raises where nothing can be."""
    if device == CPU:
        _try_cpp()
    else:
        torch.compile(lambda x: x + 1, fullgraph=True)(torch.ones(1, device=device))
    return loops_write(device)


def _try_cpp() -> None:
    """Compile and link a file with torch's own options, but without its headers, which take longer
    than all else. Raises what torch raises where that fails."""
    from torch._inductor.cpp_builder import CppBuilder, CppTorchOptions
    from torch._inductor.cpu_vec_isa import invalid_vec_isa

    with TemporaryDirectory() as folder:
        source = Path(folder) / "trial.cpp"
        source.write_text("#include <Python.h>\n#include <omp.h>\n")
        options = CppTorchOptions(vec_isa=invalid_vec_isa)
        CppBuilder("trial", [str(source)], options, folder).build()


def loops_write(device: torch.device = CPU) -> bool:
    """Whether this torch compiles loops that write into a buffer: 2.11 does not, 2.15 does.

    On a CPU it is enough to trace one. For other devices one is compiled, which takes seconds.
    """

    @torch.no_grad()
    def fill(buffer: Tensor) -> Tensor:
        def write(i: Tensor) -> tuple[Tensor]:
            buffer.index_copy_(0, i.view(1), i.view(1))
            return (i + 1,)

        found: Tensor
        (found,) = torch.while_loop(lambda i: i < 2, write, (torch.zeros_like(buffer[0]),))
        return found

    backend = "eager" if device == CPU else "inductor"
    buffer = torch.zeros(2, dtype=torch.int64, device=device)
    try:
        torch.compile(fill, fullgraph=True, backend=backend)(buffer)
    except torch._dynamo.exc.UncapturedHigherOrderOpError:
        return False
    except Exception:  # of many types, as above
        if device == CPU:
            raise
        return False
    return buffer.tolist() == [0, 1]


@contextmanager
def for_batch(model: Model, images: int, batch_size: int) -> Iterator[None]:
    """Compute a batch uncompiled if it is smaller than the others, as the last one of an epoch is.

    Compiling another graph for it would take longer than it saves.
    """
    if images == batch_size:
        yield
    else:
        with uncompiled(model):
            yield


@contextmanager
def uncompiled(model: Model) -> Iterator[None]:
    """Compute nothing compiled, for batches of sizes that come once."""
    if not model.is_compiled:
        yield
    else:
        with torch.compiler.set_stance("force_eager"), model.core_uncompiled():
            yield
