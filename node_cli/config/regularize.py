"""The regularisers that were chosen: the options of each by its name, and what they need."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, create_model

from node_cli.config.section import Section, Several
from node_cli.config.solver import method_of
from node_cli.config.tree import Tree, get, show
from node_cli.errors import UserError
from node_cli.ode.sensitivity.methods import SENSITIVITIES
from node_cli.ode.tableaus import TABLEAUS
from node_cli.regularisers.installed import traits_of
from node_cli.regularisers.options import Options, Weighted
from node_cli.regularisers.table import REGULARISERS, Traits, has


def _each_of_its_type(values: Any) -> Any:
    """The options of each regulariser, as the type that it has. Of an unknown one nothing is said
    here: see ``parts.settle``."""
    if not isinstance(values, dict):
        return values
    types = {name: traits.options for name in values if (traits := _known(name))}
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in types.items()}
    section = create_model("Regularize", __base__=Section, **fields)
    return dict(section.model_validate({name: values[name] for name in types}))


def _known(name: str) -> Traits | None:
    """What is known of a regulariser; None where there is none, or it cannot be used, which is told
    elsewhere."""
    try:
        return traits_of(name)
    except UserError:
        return None


def _options_of(name: str) -> type[Options] | None:
    return traits.options if (traits := _known(name)) else None


RegularizeConfig = Annotated[
    dict[str, SerializeAsAny[Options]],
    BeforeValidator(_each_of_its_type),
    Several("regulariser", REGULARISERS, _options_of),
]


def moving(chosen: Mapping[str, Options]) -> list[str]:
    """Those whose weight changes during a training, and so depends on how long that is."""
    return [
        name
        for name, options in chosen.items()
        if isinstance(options, Weighted) and options.final_weight not in (None, options.weight)
    ]


def chosen(tree: Tree) -> dict[str, Traits]:
    """What is known of the chosen ones."""
    values = tree.get("regularize")
    names = values if isinstance(values, dict) else {}
    return {name: traits for name in names if (traits := _known(name))}


def impossible(tree: Tree) -> list[str]:
    """What a regulariser that was chosen does not work with."""
    return _unusable(tree) + [
        f"regularize={name}: {problem}"
        for name, traits in chosen(tree).items()
        for look in (_solver, _sensitivity, _compiler, _data)
        if (problem := look(tree, traits))
    ]


def _unusable(tree: Tree) -> list[str]:
    """Why those of installed packages cannot be used."""
    lines: list[str] = []
    values = tree.get("regularize")
    for name in values if isinstance(values, dict) else ():
        try:
            traits_of(name)
        except UserError as error:
            lines += error.problems
    return lines


def _solver(tree: Tree, traits: Traits) -> str | None:
    """A method without the estimate, or an engine that does not show its steps."""
    name = get(tree, "solver.name")
    method, estimate = method_of(name), traits.estimate
    if estimate is None or method is None:
        return None
    able = [n for n, tableau in TABLEAUS.items() if has(estimate, tableau)]
    if name not in able:
        return f"solver={name} has no estimate of the {estimate}; choose from {', '.join(able)}"
    if traits.of_steps and get(tree, "solver.engine") == "torchdiffeq":
        return "solver.engine=torchdiffeq does not show its steps; take engine=native"
    if traits.of_steps and get(tree, "solver.jump_t"):
        return f"not with {show(tree, 'solver.jump_t')}, which cuts a solve into several"
    return None


def _sensitivity(tree: Tree, traits: Traits) -> str | None:
    """A gradient method that does not differentiate the steps, or a field compiled for one
    derivative."""
    name = get(tree, "sensitivity.name")
    if name not in SENSITIVITIES:
        return None
    of_steps = [n for n, method in SENSITIVITIES.items() if method.gradient_of == "steps"]
    if traits.of_steps and name not in of_steps:
        return (
            f"sensitivity={name} does not differentiate the solver's steps; choose from "
            f"{', '.join(of_steps)}"
        )
    if traits.differentiates_f and get(tree, "sensitivity.vjp") == "compiled":
        return "needs a second derivative of f, which sensitivity.vjp=compiled does not have"
    return None


def _compiler(tree: Tree, traits: Traits) -> str | None:
    if traits.compiles or get(tree, "compile") is not True:
        return None
    able = [name for name, others in REGULARISERS.items() if others.compiles]
    return f"not with compile=true, which works with {' and '.join(able)} alone"


def _data(tree: Tree, traits: Traits) -> str | None:
    """An end that moves, of a trajectory with data there, or beyond the start."""
    if not traits.ends:
        return None
    if get(tree, "model.stem") is None and get(tree, "model.head") is None:
        return "not with a trajectory, which has data at every time"
    if traits is not REGULARISERS["steer"]:
        return None  # how far an installed one moves it, it knows alone
    half_width = get(tree, "regularize.steer.half_width")
    t0, t1 = get(tree, "model.t0"), get(tree, "model.t1")
    if not all(isinstance(x, int | float) for x in (half_width, t0, t1)):
        return None
    if half_width >= (length := abs(t1 - t0)):
        return f"half_width={half_width:g} must be below {length:g}, the length of the interval"
    return None
