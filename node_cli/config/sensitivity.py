"""The gradient method: the options of each, and their rules, the backward solver's among them."""

from collections.abc import Collection
from typing import Annotated, Any, ClassVar, Literal

from pydantic import PositiveFloat

from node_cli.config.section import OneOf, Section, Variants, drop_unused
from node_cli.config.solver import method_of, native
from node_cli.config.tree import Tree, get, show
from node_cli.ode.sensitivity.methods import SENSITIVITIES, NormName, Traits
from node_cli.ode.solver import METHODS, STEPS, TOLERANCES, Solver


class SensitivitySection(Section):
    name: str
    vjp: Literal["autograd", "compiled"]

    def arguments(self, forward: Solver) -> dict[str, Any]:
        """What ``Traits.build`` is given. ``forward``: the solver of the forward pass."""
        return {}


class ThroughSteps(SensitivitySection):
    """Methods that differentiate the steps of the forward solver: they have no solver of their
    own."""

    chosen_by: ClassVar = {
        "name": [name for name, traits in SENSITIVITIES.items() if not traits.solves_backwards]
    }


class _SolvedBackwards(SensitivitySection):
    def backward_solver(self, forward: Solver) -> Solver:
        """The solver of the backward pass: the forward one but for what is set here.

        A ``first_step`` in numbers is not handed on: it is the forward solve's own. Nor is the
        engine to a method that it does not have.
        """
        given = self.model_dump()
        name = given["solver"] or forward.name
        engines = METHODS[name].engines
        engine = forward.engine if forward.engine in engines else engines[0]
        is_warm = forward.first_step == "warm" and engine == "native"
        options = {
            "engine": engine,
            "first_step": "warm" if is_warm else None,
            "controller": forward.controller if engine == "native" else None,
            "max_nfe": forward.max_nfe,
            "rtol": given["rtol"] or forward.rtol,
            "atol": given["atol"] or forward.atol,
            "step_size": forward.step_size,
            "n_steps": forward.n_steps,
            "max_steps": forward.max_steps,
            "max_order": forward.max_order,
            "scipy_method": forward.scipy_method or "RK45",
        }
        used = METHODS[name].options
        return Solver(name, **{k: v for k, v in options.items() if k in used})  # type: ignore[arg-type]

    def arguments(self, forward: Solver) -> dict[str, Any]:
        return {"solver": self.backward_solver(forward)}


BackwardSolver = Annotated[str, OneOf(METHODS)] | None


class WithNorm(_SolvedBackwards):
    """Methods that solve an adjoint backwards, its step size controlled in a norm of choice; None
    where the backward solver is not adaptive."""

    chosen_by: ClassVar = {"name": [name for name, traits in SENSITIVITIES.items() if traits.norms]}
    norm: NormName | None = None
    solver: BackwardSolver = None
    rtol: PositiveFloat | None = None
    atol: PositiveFloat | None = None

    def arguments(self, forward: Solver) -> dict[str, Any]:
        return super().arguments(forward) | {"norm": self.norm}


class SolvingAgain(WithNorm):
    """Methods that also solve y backwards, which may drift: beyond ``max_drift`` tolerances the
    backward pass fails; None: it never does."""

    chosen_by: ClassVar = {
        "name": [name for name, traits in SENSITIVITIES.items() if traits.solves_y_again]
    }
    max_drift: PositiveFloat | None = None

    def arguments(self, forward: Solver) -> dict[str, Any]:
        return super().arguments(forward) | {"max_drift": self.max_drift}


class WithoutNorm(_SolvedBackwards):
    """Methods that solve an adjoint backwards, and leave no choice of the norm."""

    chosen_by: ClassVar = {
        "name": [n for n, traits in SENSITIVITIES.items() if traits.solves_backwards]
    }
    solver: BackwardSolver = None
    rtol: PositiveFloat | None = None
    atol: PositiveFloat | None = None


SensitivityConfig = Annotated[ThroughSteps | SolvingAgain | WithNorm | WithoutNorm, Variants()]


def with_method(section: SensitivityConfig, name: str, norm: NormName | None) -> SensitivityConfig:
    """The section with another method, which takes those of the options that it has.

    ``norm``: of a method that has a choice of it.
    """
    types: list[type[SensitivityConfig]] = [ThroughSteps, SolvingAgain, WithNorm, WithoutNorm]
    variant = next(t for t in types if name in t.chosen_by["name"])
    values = section.model_dump() | {"name": name, "norm": norm}
    return variant.model_validate({k: v for k, v in values.items() if k in variant.model_fields})


def traits_of(tree: Tree) -> Traits | None:
    """What is known of the chosen method; None where there is none of its name."""
    name = get(tree, "sensitivity.name")
    return SENSITIVITIES.get(name) if isinstance(name, str) else None


def backward_name(tree: Tree) -> Any:
    """The backward solver: by default the forward one."""
    return get(tree, "sensitivity.solver") or get(tree, "solver.name")


def unused(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    """Drop what the method does not read with the backward solver that was chosen."""
    traits, backward = traits_of(tree), method_of(name := backward_name(tree))
    if traits is None or backward is None or not traits.solves_backwards:
        return {}
    read = traits.options_with(backward)
    unread = traits.options - read
    return drop_unused(
        tree,
        typed,
        "sensitivity",
        [key for key in tree["sensitivity"] if key in unread],
        by=f"{show(tree, 'sensitivity')} with the solver {name}",
        takes=[key for key in SolvingAgain.takes() if key in {*read, "vjp"}],
        spare=["norm"],
    )


def missing(tree: Tree) -> list[str]:
    """What the backward solver needs, and neither the forward one nor the section has."""
    traits = traits_of(tree)
    name, backwards = get(tree, "solver.name"), backward_name(tree)
    forward, backward = method_of(name), method_of(backwards)
    if not (traits and traits.solves_backwards and forward and backward):
        return []
    lines = []
    if backward.options & STEPS and not forward.options & STEPS:
        lines.append(
            f"sensitivity.solver={backwards}: needs the step_size or n_steps of a "
            f"fixed-step forward solver; solver={name} has none"
        )
    without = {key for key in TOLERANCES if get(tree, f"sensitivity.{key}") is None}
    if backward.options & without and not forward.options & TOLERANCES:
        lines.append(
            f"sensitivity.solver={backwards}: needs sensitivity.rtol and sensitivity.atol, "
            f"since solver={name} has no tolerances"
        )
    return lines


def impossible(tree: Tree) -> list[str]:
    """A forward or backward solver that the method does not work with."""
    traits = traits_of(tree)
    if traits is None:
        return []
    name, solver = get(tree, "sensitivity.name"), get(tree, "solver.name")
    engine, lines = get(tree, "solver.engine"), []
    if (forward := method_of(solver)) and (reason := traits.refused_kinds.get(forward.kind)):
        lines.append(
            f"solver={solver} sensitivity={name}: {reason}; "
            "take sensitivity=backsolve, or another solver"
        )
    if engine == "torchdiffeq" and engine not in traits.engines:
        lines.append(
            f"sensitivity={name}: needs the steps of solver.engine=native, which has "
            f"{', '.join(native())}; with engine=torchdiffeq take sensitivity=backsolve"
        )
    back = get(tree, "sensitivity.solver")
    if traits.backward_dense_output and method_of(back) and back not in native():
        lines.append(
            f"sensitivity.solver={back}: sensitivity={name} needs dense output; "
            f"choose from {', '.join(native())}"
        )
    return lines
