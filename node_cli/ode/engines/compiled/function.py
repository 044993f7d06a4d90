"""A function that is compiled at its first call, or was by an earlier process."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from node_cli.ode.engines.compiled import packages
from node_cli.ode.engines.compiled.packages import Runner

Function = Callable[..., Any]


def compiled(make: Callable[[], Function], device: torch.device, parts: Sequence[str]) -> Function:
    """The function, compiled without graph breaks at its first call; see ``Packaged``. On other
    devices than a CPU it is compiled anew in every process, as far as torch keeps nothing."""
    if device.type == "cpu":
        return Packaged(make, parts)
    options: dict[str, Any] = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
    function = _of_its_own(make())
    return torch.compile(function, fullgraph=True, dynamic=False, options=options)


def _of_its_own(function: Function) -> Function:
    """A copy with a code object of its own. The compiler keeps what it has made by code object, and
    all functions of one factory share theirs."""
    assert isinstance(function, FunctionType)
    return FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )


class Packaged:
    """A function of tensors on a CPU, compiled into a shared library that is kept.

    ``make``: the function, called only where it has to be compiled. ``parts``: all that the
    function depends on beside its arguments' shapes. Arguments are tensors, None, and tuples or
    lists of those, the same at every call but for dimensions that are marked as dynamic, and
    contiguous; nothing is checked. Tensors may be written to. Results are the tensors of the
    function's tuple, which holds nothing else.
    """

    def __init__(self, make: Callable[[], Function], parts: Sequence[str]) -> None:
        self.make = make
        self.parts = parts
        self.runner: Runner | None = None

    def __call__(self, *arguments: Any) -> list[Tensor]:
        tensors = list(_tensors(arguments))
        self.runner = self.runner or self._prepared(arguments, tensors)
        return self.runner.run(tensors)

    def _prepared(self, arguments: Sequence[Any], tensors: Sequence[Tensor]) -> Runner:
        name = packages.name_of(*self.parts, *map(_description, tensors), _places(arguments))
        if runner := packages.find(name):
            return runner
        library = library_of(self.make(), arguments, tensors)
        packages.keep(name, library)
        return packages.load(library)


class _Flat(nn.Module):
    """A function of nested arguments as a module that takes their tensors."""

    def __init__(self, function: Function, arguments: Sequence[Any]) -> None:
        super().__init__()
        self.function = function
        self.spec = torch.utils._pytree.tree_structure(tuple(arguments))
        leaves = torch.utils._pytree.tree_leaves(tuple(arguments))
        self.places = [isinstance(leaf, Tensor) for leaf in leaves]

    def forward(self, *tensors: Tensor) -> Any:
        given = iter(tensors)
        leaves = [next(given) if place else None for place in self.places]
        return self.function(*torch.utils._pytree.tree_unflatten(leaves, self.spec))


def library_of(function: Function, arguments: Sequence[Any], tensors: Sequence[Tensor]) -> Path:
    """The shared library of a function, for arguments like these."""
    shapes = tuple(dict.fromkeys(_dynamic(x), torch.export.Dim.DYNAMIC) for x in tensors)
    examples = tuple(x.detach() for x in tensors)
    program = torch.export.export(
        _Flat(function, arguments), examples, dynamic_shapes=(shapes,), strict=True
    )
    options = {
        "aot_inductor.precompile_headers": False,  # takes longer than it saves
        "aot_inductor.compile_wrapper_opt_level": "O1",
        "cpp.vec_isa_ok": True,
    }
    module = program.module(check_guards=False)
    return Path(str(torch._inductor.aot_compile(module, examples, options=options)))


def _tensors(arguments: Sequence[Any]) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif argument is not None:
            yield from _tensors(argument)


def _places(arguments: Sequence[Any]) -> str:
    """How arguments are nested."""
    inner = [
        "tensor" if isinstance(x, Tensor) else "none" if x is None else _places(x)
        for x in arguments
    ]
    return f"({' '.join(inner)})"


def _dynamic(x: Tensor) -> set[int]:
    """The dimensions that are marked as dynamic."""
    found: set[int] = getattr(x, "_dynamo_dynamic_indices", set())
    return found


def _description(x: Tensor) -> str:
    shape = ["any" if i in _dynamic(x) else str(size) for i, size in enumerate(x.shape)]
    return f"{x.dtype} {' '.join(shape)} {x.stride()}"
