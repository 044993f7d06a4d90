"""The solvers that solver_swap tries a trained network under."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from node_cli.config.rules import FINEST_TOLERANCE
from node_cli.config.schema import Precision
from node_cli.ode.solver import STEPS, Solver

FACTORS = (0.25, 0.5, 2.0, 4.0)
"""By which the steps of the training's solver are made fewer and more."""

LOOSER = (100.0, 10.0, 0.1, 0.01)
"""By which its tolerances are made looser and tighter."""

FIXED = ("euler", "midpoint", "rk4")
NUMBERS_OF_STEPS = (1, 2, 4, 8, 16)  # in each ODE block

ADAPTIVE = "dopri5"
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)

REFERENCE = "dopri8"
FINEST_REFERENCE = 1e-10
COARSER = (1.0, 1e2, 1e4)  # the first that comes to an end is the reference

MOST_NFE = 2000  # of one solve


def references(precision: Precision, jump_t: tuple[float, ...] | None) -> Iterator[Solver]:
    """Practically the ODE itself: the finest first, the others for where that does not end."""
    finest = max(FINEST_TOLERANCE[precision], FINEST_REFERENCE)
    for factor in COARSER:
        yield _adaptive(REFERENCE, finest * factor, jump_t)


def others(trained: Solver, precision: Precision) -> Sequence[Solver]:
    """The solver of the training with fewer and more steps, or looser and tighter tolerances; then
    fixed steps, then an adaptive method. None twice, and not that of the training itself."""
    jump_t, finest = trained.jump_t, FINEST_TOLERANCE[precision]
    found = [*_like(trained)]
    for name in FIXED:
        found += [
            Solver(name, n_steps=n, jump_t=jump_t, max_nfe=MOST_NFE) for n in NUMBERS_OF_STEPS
        ]
    found += [_adaptive(ADAPTIVE, tol, jump_t) for tol in TOLERANCES]
    by_words = {in_words(solver): solver for solver in found if (solver.rtol or finest) >= finest}
    by_words.pop(in_words(trained), None)
    return [*by_words.values()]


def in_words(solver: Solver) -> str:
    """The method and what decides its steps."""
    names = ("rtol", "atol", "step_size", "n_steps", "max_order", "scipy_method")
    chosen = {name: getattr(solver, name) for name in names}
    if chosen["rtol"] == chosen["atol"] is not None:
        chosen = {"tol": chosen.pop("rtol"), **chosen, "atol": None}
    options = [f"{name}={_plain(value)}" for name, value in chosen.items() if value is not None]
    return " ".join([solver.name, *options])


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _adaptive(name: str, tol: float, jump_t: tuple[float, ...] | None) -> Solver:
    return Solver(name, rtol=tol, atol=tol, jump_t=jump_t, max_nfe=MOST_NFE)


def _like(trained: Solver) -> Iterator[Solver]:
    """The solver of the training with other steps or tolerances."""
    solver = replace(trained, first_step=None, max_nfe=MOST_NFE)
    if solver.step_size is not None:
        for factor in FACTORS:
            yield replace(solver, step_size=solver.step_size / factor)
    elif solver.n_steps is not None:
        for factor in FACTORS:
            if (steps := int(solver.n_steps * factor)) > 0:
                yield replace(solver, n_steps=steps)
    else:
        assert not solver.method.options & STEPS
        assert solver.rtol is not None and solver.atol is not None
        for factor in LOOSER:
            yield replace(solver, rtol=solver.rtol * factor, atol=solver.atol * factor)
