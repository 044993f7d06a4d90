"""A function that is compiled at its first call, or was by an earlier process."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from node_cli.ode.engines.compiled import packages
from node_cli.ode.engines.compiled.library import dynamic, library_of
from node_cli.ode.engines.compiled.packages import Runner

Function = Callable[..., Any]

Watcher = Callable[[str], AbstractContextManager[object]]
"""Is told what is compiled, and entered for as long as that takes."""

WATCHERS: list[Watcher] = []


def compiled(
    make: Callable[[], Function], device: torch.device, parts: Sequence[str], what: str
) -> Function:
    """A function, compiled without graph breaks at its first call.

    On a CPU it is kept on disk (``Packaged``); elsewhere it is compiled in every process, as far as
    torch has no cache of its own. Nothing is checked at later calls.

    Args:
        make: the function; called only where it has to be compiled.
        device: of its arguments.
        parts: all that it depends on beside the shapes of its arguments and this package's code.
        what: it is, in words.
    """
    return Packaged(make, parts, what) if device.type == "cpu" else JustInTime(make, what)


class JustInTime:
    """A function compiled by ``torch.compile``, with its ``options``."""

    def __init__(self, make: Callable[[], Function], what: str, **options: Any) -> None:
        options["guard_filter_fn"] = torch.compiler.skip_all_guards_unsafe
        self.what = what
        self.function = torch.compile(
            _of_its_own(make()), fullgraph=True, dynamic=False, options=options
        )
        self.is_compiled = False

    def __call__(self, *arguments: Any) -> Any:
        if self.is_compiled:
            return self.function(*arguments)
        with _watched(self.what):
            found = self.function(*arguments)
        self.is_compiled = True
        return found


class Packaged:
    """A function of tensors on a CPU, compiled into a shared library that is kept.

    Arguments are tensors, None, and tuples or lists of those, the same at every call but for
    dimensions that are marked as dynamic, and contiguous. Tensors may be written to. The function
    returns a tuple of tensors, its compiled form a list. What cannot be a library, since it calls
    something that is no operation of torch's own, is a ``JustInTime``.
    """

    def __init__(self, make: Callable[[], Function], parts: Sequence[str], what: str) -> None:
        self.make = make
        self.parts = parts
        self.what = what
        self.runner: Runner | None = None
        self.instead: JustInTime | None = None

    def __call__(self, *arguments: Any) -> Any:
        if self.instead:
            return self.instead(*arguments)
        tensors = list(_tensors(arguments))
        self.runner = self.runner or self._prepared(arguments, tensors)
        return self.runner.run(tensors) if self.runner else self(*arguments)

    def _prepared(self, arguments: Sequence[Any], tensors: Sequence[Tensor]) -> Runner | None:
        name = packages.name_of(*self.parts, _nested(arguments), *map(_described, tensors))
        if runner := packages.find(name):
            return runner
        with _watched(self.what):
            try:
                library = library_of(self.make(), arguments, tensors)
            except Exception:  # of many types
                self.instead = JustInTime(self.make, self.what, cpp_wrapper=True)
                return None
        packages.keep(name, library)
        return packages.load(library)


@contextmanager
def _watched(what: str) -> Iterator[None]:
    with ExitStack() as stack:
        for watcher in WATCHERS:
            stack.enter_context(watcher(what))
        yield


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


def _tensors(arguments: Sequence[Any]) -> Iterator[Tensor]:
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument
        elif argument is not None:
            yield from _tensors(argument)


def _nested(arguments: Sequence[Any]) -> str:
    """How arguments are nested."""
    inner = [
        "tensor" if isinstance(x, Tensor) else "none" if x is None else _nested(x)
        for x in arguments
    ]
    return f"({' '.join(inner)})"


def _described(x: Tensor) -> str:
    sizes = ["any" if i in dynamic(x) else str(size) for i, size in enumerate(x.shape)]
    return f"{x.dtype} {' '.join(sizes)} {x.stride()}"
