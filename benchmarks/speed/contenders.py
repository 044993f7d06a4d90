"""Who takes part in ``training_step.py``: the registry. Free of torch, JAX and the peers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Any

REFERENCE = "torchdiffeq-odeint"
FLOORS = ("floor-eager", "floor-compiled")
# Says how many evaluations of f, and how many VJPs, the floors are made of.
MEASURE_OF_FLOOR = "ours-discrete"

METHODS = ("discrete", "checkpointed", "backsolve", "interpolating", "gauss")


@dataclass(frozen=True)
class Contender:
    """``module.build(task, **options)`` makes its training step; ``compiled``: has a first step
    that takes long, and a cache that shortens it."""

    name: str
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    compiled: bool = False


@dataclass(frozen=True)
class Task:
    """One training problem. ``data``: the file that ``task.prepare`` wrote;
    ``evaluations`` and ``vjps`` of f in a training step are read by the floors alone."""

    model: str
    tol: float
    seed: int
    device: str
    data: Path
    evaluations: int = 0
    vjps: int = 0


def _ours(method: str, compiled: bool, warm: bool) -> Contender:
    name = f"ours-{method}{'-compiled' if compiled else ''}{'-warm' if warm else ''}"
    overrides = [f"sensitivity={method}"]
    overrides += ["compile=true"] if compiled else []
    overrides += ["solver.first_step=warm"] if warm else []
    return Contender(name, "speed.ours", {"overrides": overrides}, compiled)


def _peer(name: str, compiled: bool = False, **options: Any) -> Contender:
    library = name.split("-")[0]
    return Contender(name, f"speed.peers.with_{library}", options, compiled)


CONTENDERS = (
    *(
        _ours(method, compiled, warm)
        for method, compiled, warm in product(METHODS, (False, True), (False, True))
    ),
    _peer("torchdiffeq-odeint", adjoint=False),
    _peer("torchdiffeq-adjoint", adjoint=True),
    _peer("torchdyn-autograd", sensitivity="autograd"),
    _peer("torchdyn-adjoint", sensitivity="adjoint"),
    _peer("torchode-eager", compile_solver=False),
    _peer("torchode-compiled", compile_solver=True, compiled=True),
    _peer("diffrax-checkpoint", adjoint="RecursiveCheckpointAdjoint", compiled=True),
    _peer("diffrax-backsolve", adjoint="BacksolveAdjoint", compiled=True),
    Contender("floor-eager", "speed.floor", {"compiled": False}),
    Contender("floor-compiled", "speed.floor", {"compiled": True}, compiled=True),
)


def chosen(patterns: Sequence[str]) -> list[Contender]:
    """Those whose name matches one of the patterns (shell style), in the registry's order.

    Raises ValueError for a pattern that matches none.
    """
    for pattern in patterns:
        if not any(fnmatch(contender.name, pattern) for contender in CONTENDERS):
            names = ", ".join(contender.name for contender in CONTENDERS)
            raise ValueError(f"{pattern}: no such contender; there are {names}")
    return [c for c in CONTENDERS if any(fnmatch(c.name, pattern) for pattern in patterns)]
