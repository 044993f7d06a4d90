"""Train and evaluate image classifiers whose middle is an ODE block.

From Python: ``from node_cli import load`` (docs/deploy.md).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from node_cli.trained.loading import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: torch takes a second, which the command line does without."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from node_cli.trained.loading import load

    return load
