"""When Python looks for garbage.

A collection goes through all objects, of which loading torch makes a million that stay. Without
what is here, collections are a quarter of the time of loading, and most of that of ending.
"""

import atexit
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def collection(*, on: bool) -> Iterator[None]:
    """Within it Python looks for garbage by itself, or does not.

    On, where work goes on for long, or makes tensors; off, where modules are loaded.
    """
    before = gc.isenabled()
    _switch(on)
    try:
        yield
    finally:
        _switch(before)


def settle() -> None:
    """Exempt all objects so far from collections. Call it when everything is compiled: a compiler
    leaves so many objects that one collection takes as long as a hundred small steps."""
    gc.collect()
    gc.freeze()


def none_at_exit() -> None:
    """Let the last act of this process be no search for garbage, which takes 0.7 s. Objects that
    hold each other are then not finalized, as Python promises to none."""
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def _switch(on: bool) -> None:
    change: Callable[[], None] = gc.enable if on else gc.disable
    change()
