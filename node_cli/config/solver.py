"""The solver of the forward pass: the options of each kind of method, and their rules."""

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from node_cli.config.section import OneOf, Section, Variants
from node_cli.config.tree import Tree, get, put, show
from node_cli.ode.solver import (
    METHODS,
    SCIPY_METHODS,
    STEPS,
    TOLERANCES,
    Controller,
    Engine,
    Kind,
    Method,
    Solver,
)

# A fixed grid of more steps does not fit into memory.
MOST_STEPS = 10**6

# A typed key silences those that say the same in another way and were not typed.
ALTERNATIVES = {"tol": ("rtol", "atol"), "step_size": ("n_steps",), "n_steps": ("step_size",)}


def _of_kind(kind: Kind) -> list[str]:
    return [name for name, method in METHODS.items() if method.kind == kind]


MOST_JUMPS = 10**4


def _unlike(times: list[float]) -> list[float]:
    if len(set(times)) < len(times):
        raise ValueError("a time is there twice")
    return times


class SolverSection(Section):
    name: str
    jump_t: (
        Annotated[list[float], Field(min_length=1, max_length=MOST_JUMPS), AfterValidator(_unlike)]
        | None
    ) = None

    def solver(self) -> Solver:
        """The solver, ``tol`` resolved into rtol and atol."""
        options = self.model_dump()
        tol = options.pop("tol", None)
        for key in TOLERANCES & options.keys():
            options[key] = options[key] or tol
        options.pop("shared_steps", None)  # by those that solve, not by the solver
        options["jump_t"] = tuple(options["jump_t"]) if options["jump_t"] else None
        return Solver(**options)


class _Tolerances(SolverSection):
    tol: PositiveFloat | None = None
    rtol: PositiveFloat | None = None
    atol: PositiveFloat | None = None


class _Steps(SolverSection):
    step_size: Annotated[float, Field(ge=1 / MOST_STEPS)] | None = None
    n_steps: Annotated[int, Field(ge=1, le=MOST_STEPS)] | None = None


MaxOrder = Annotated[int, Field(ge=4, le=12)] | None


class AdaptiveOfTorchdiffeq(_Tolerances):
    """Adaptive Runge-Kutta methods, in torchdiffeq's implementation."""

    chosen_by: ClassVar = {"name": _of_kind("adaptive"), "engine": ["torchdiffeq"]}
    spare: ClassVar = ["controller", "shared_steps"]
    first_step: Literal["warm"] | PositiveFloat | None = None
    max_steps: PositiveInt | None = None
    max_nfe: PositiveInt | None = None
    engine: Engine


class Adaptive(_Tolerances):
    """Adaptive Runge-Kutta methods. ``shared_steps``: those of one training in several processes
    are the same, chosen by the whole batch."""

    chosen_by: ClassVar = {"name": _of_kind("adaptive")}
    first_step: Literal["warm"] | PositiveFloat | None = None
    controller: Controller | None = None
    max_steps: PositiveInt | None = None
    max_nfe: PositiveInt | None = None
    shared_steps: bool
    engine: Engine


class Fixed(_Steps):
    """Runge-Kutta methods with steps of a given size."""

    chosen_by: ClassVar = {"name": _of_kind("fixed")}
    max_nfe: PositiveInt | None = None
    engine: Engine


class ExplicitAdams(_Steps):
    """Adams-Bashforth methods."""

    chosen_by: ClassVar = {"name": _of_kind("explicit_adams")}
    max_nfe: PositiveInt | None = None
    max_order: MaxOrder = None
    engine: Engine


class ImplicitAdams(_Steps, _Tolerances):
    """Adams-Bashforth-Moulton methods, whose corrector iterates to a tolerance."""

    chosen_by: ClassVar = {"name": _of_kind("implicit_adams")}
    max_nfe: PositiveInt | None = None
    max_order: MaxOrder = None
    engine: Engine


class Scipy(_Tolerances):
    """scipy's solvers."""

    chosen_by: ClassVar = {"name": _of_kind("scipy")}
    max_nfe: PositiveInt | None = None
    scipy_method: Annotated[str, OneOf(SCIPY_METHODS)]
    engine: Engine


SolverConfig = Annotated[
    AdaptiveOfTorchdiffeq | Adaptive | Fixed | ExplicitAdams | ImplicitAdams | Scipy, Variants()
]


def shares_steps(section: SolverSection | None) -> bool:
    """Whether processes that train together choose the same steps."""
    return isinstance(section, Adaptive) and section.shared_steps


def method_of(name: Any) -> Method | None:
    """The method of that name; None where there is none."""
    return METHODS.get(name) if isinstance(name, str) else None


def native() -> list[str]:
    """The methods that the native engine has."""
    return [name for name, method in METHODS.items() if "native" in method.engines]


def silence_alternatives(tree: Tree, typed: Iterable[str]) -> None:
    """Unset what says the same as a typed option in another way, unless it was typed too."""
    names = {key.removeprefix("solver.") for key in typed if key.startswith("solver.")}
    for name in names & ALTERNATIVES.keys():
        for other in set(ALTERNATIVES[name]) - names:
            put(tree, f"solver.{other}", None)


def missing(tree: Tree) -> list[str]:
    """What the method needs and was not given."""
    name = get(tree, "solver.name")
    method, lines = method_of(name), []
    if method and method.options & STEPS:
        steps = [key for key in sorted(STEPS) if get(tree, f"solver.{key}") is not None]
        if len(steps) != 1:
            given = " and ".join(show(tree, f"solver.{key}") for key in steps) or f"solver={name}"
            lines.append(f"{given}: give either solver.step_size or solver.n_steps")
    lacking = {key for key in TOLERANCES if get(tree, f"solver.{key}") is None}
    if method and method.options & lacking and get(tree, "solver.tol") is None:
        lines.append(f"solver={name}: needs solver.tol, or both solver.rtol and solver.atol")
    return lines


def impossible(tree: Tree) -> list[str]:
    """An engine that does not have the method, or the start."""
    name, engine = get(tree, "solver.name"), get(tree, "solver.engine")
    method, lines = method_of(name), []
    if method and engine == "native" and engine not in method.engines:
        lines.append(
            f"solver.engine=native: does not have solver={name}; take engine=torchdiffeq, "
            f"or a solver among {', '.join(native())}"
        )
    if engine == "torchdiffeq" and get(tree, "solver.first_step") == "warm":
        lines.append(
            "solver.first_step=warm: not with solver.engine=torchdiffeq; give a number, or "
            "take engine=native"
        )
    return lines + _steps_not_shared(tree)


def _steps_not_shared(tree: Tree) -> list[str]:
    """What chooses steps by other numbers than sums over the images of all processes."""
    if get(tree, "solver.shared_steps") is not True:
        return []
    lines, back = [], method_of(get(tree, "sensitivity.solver"))
    if get(tree, "compile") is True:
        lines.append("solver.shared_steps=true: not with compile=true")
    if get(tree, "sensitivity.norm") == "full":
        lines.append(
            "solver.shared_steps=true: not with sensitivity.norm=full, by which steps depend on "
            "sums over all images; take sensitivity.norm=seminorm"
        )
    if back and back.kind not in ("adaptive", "fixed"):
        lines.append(
            f"solver.shared_steps=true: not with {show(tree, 'sensitivity.solver')}; choose from "
            f"{', '.join(native())}"
        )
    return lines
