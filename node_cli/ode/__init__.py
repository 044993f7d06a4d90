"""The mathematics: solvers, gradients, accounting. Knows no configuration, no images, no files.

As a library: ``from node_cli.ode import odeint`` (docs/library.md).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from node_cli.ode.failures import SolveFailed
    from node_cli.ode.library import odeint, odeint_adjoint
    from node_cli.ode.work import Work

__all__ = ["SolveFailed", "Work", "odeint", "odeint_adjoint"]

_FILES = {"SolveFailed": "failures", "Work": "work"}


def __getattr__(name: str) -> Any:
    """Import what is asked for: the command line reads tables of ``ode``, and starts fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES.get(name, 'library')}"), name)
