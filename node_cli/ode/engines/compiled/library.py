"""A function compiled into a shared library, as quickly as torch can be brought to do it."""

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

OPTIONS = {
    "aot_inductor.precompile_headers": False,  # takes longer than it saves
    # O0: steps take a seventh longer; O1 and O3: no quicker, and take a third longer, and twice as
    # long, to compile.
    "aot_inductor.compile_wrapper_opt_level": "Og",
    "aot_inductor.enable_line_tables": False,  # two thirds of the library
}


class _Flat(nn.Module):
    """A function of nested arguments as a module that takes their tensors."""

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
        super().__init__()
        self.function = function
        leaves, self.nested = pytree.tree_flatten(tuple(arguments))
        self.is_tensor = [isinstance(leaf, Tensor) for leaf in leaves]

    def forward(self, *tensors: Tensor) -> Any:
        given = iter(tensors)
        leaves = [next(given) if is_tensor else None for is_tensor in self.is_tensor]
        return self.function(*pytree.tree_unflatten(leaves, self.nested))


def library_of(
    function: Callable[..., Any], arguments: Sequence[Any], tensors: Sequence[Tensor]
) -> Path:
    """The shared library of a function, for ``arguments`` like these, whose ``tensors`` it takes.

    Raises whatever tracing, lowering and the C++ compiler raise, and ValueError where it needs more
    than the library.
    """
    shapes = tuple(dict.fromkeys(dynamic(x), torch.export.Dim.DYNAMIC) for x in tensors)
    examples = tuple(x.detach() for x in tensors)
    module = _Flat(function, arguments)
    with _quicker():
        program = torch.export.export(module, examples, dynamic_shapes=(shapes,), strict=True)
        traced = program.module(check_guards=False)
        known = torch._inductor.config.get_config_copy()
        options = {name: value for name, value in OPTIONS.items() if name in known}
        library = Path(str(torch._inductor.aot_compile(traced, examples, options=options)))
    if library.with_suffix(".json").exists():
        raise ValueError("calls operations that are not torch's own")
    return library


def dynamic(x: Tensor) -> set[int]:
    """The dimensions that are marked as dynamic."""
    found: set[int] = getattr(x, "_dynamo_dynamic_indices", set())
    return found


@contextmanager
def _quicker() -> Iterator[None]:
    """The compiler without what it could do without, which together takes a third of its time."""
    import torch._inductor.compile_fx  # noqa: F401 - defines what Handler looks for
    from torch._inductor.cpp_builder import CppBuilder
    from torch._inductor.cpu_vec_isa import pick_vec_isa
    from torch._inductor.dtype_propagation import DtypePropagationOpsHandler as Handler

    build, begun = CppBuilder.build, list[Future[None]]()

    def at_once(builder: CppBuilder) -> None:
        """Compile the two C++ files at once; linking waits for them."""
        if builder.get_target_file_path().endswith((".wrapper.o", ".kernel.o")):
            begun.append(pool.submit(build, builder))
            return
        if builder.get_target_file_path().endswith(".so"):
            for compiled in begun:
                compiled.result()
        build(builder)

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor())
        # It waits for a compiler, while others trace, and is remembered.
        pool.submit(copy_context().run, pick_vec_isa)
        stack.enter_context(patch.object(CppBuilder, "build", at_once))
        Handler()  # the only object of this class, which torch sets up anew for every operation
        stack.enter_context(patch.object(Handler, "__init__", lambda _: None))
        if gc.isenabled():  # millions of objects, few of which are garbage
            gc.disable()
            stack.callback(gc.enable)
        yield
