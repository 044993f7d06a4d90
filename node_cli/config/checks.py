"""From a composed tree of plain values to a checked ``Config``, or all of its problems at once."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import Any

from pydantic import ValidationError

from node_cli.config.messages import choose, plain, unknown_key
from node_cli.config.schema import Config, Precision, section_type
from node_cli.errors import UserError
from node_cli.ode.solver import METHODS, SCIPY_METHODS, STEPS, TOLERANCES, Method

Tree = dict[str, Any]

# A typed key silences those that say the same in another way and were not typed.
ALTERNATIVES = {
    "solver.tol": ("solver.rtol", "solver.atol"),
    "solver.step_size": ("solver.n_steps",),
    "solver.n_steps": ("solver.step_size",),
}

NOT_READ_BY_EVAL = {
    *("epochs", "optimizer", "schedule", "sensitivity", "train"),
    *("eval.every_steps", "eval.initial"),
}

# Stands for a value that is wrong in itself: it is given, but equals no choice.
WRONG = object()

# About the relative rounding error of f; below it the error estimate of a step is noise.
FINEST_TOLERANCE: dict[Precision, float] = {
    "float32": 1e-6,
    "tf32": 1e-3,
    "bf16": 1e-2,
    "float64": 1e-14,
}


def checked(
    tree: Tree, typed: Iterable[str] = (), *, in_sweep: bool = False
) -> tuple[Config, list[str]]:
    """Check a composed tree; return the configuration and notes for the user, one line each.

    ``typed``: the keys that the user typed; one that has no effect is a problem, while a default
    that has none is dropped. ``in_sweep``: over models, say, where solver keys do not concern every
    job: there they only give a note. Raises ``UserError`` with every problem found.
    """
    tree, typed = deepcopy(tree), set(typed)
    problems: list[str] = []
    notes: list[str] = []
    _silence_alternatives(tree, typed)
    _drop_unused_defaults(tree, typed)

    if _get(tree, "model.core") in ("residual", "plain", "none"):
        for key in sorted(k for k in typed if k.split(".")[0] in ("solver", "sensitivity")):
            line = f"{_show(tree, key)}: not used, model.core={_get(tree, 'model.core')} has no ODE"
            (notes if in_sweep else problems).append(line)
        tree["solver"] = tree["sensitivity"] = None

    config, wrong = _validated(tree)
    for key in wrong:
        _set(tree, key, WRONG)
    problems += wrong.values()
    problems += _unused(tree) + _missing(tree) + _impossible(tree) + _not_read_by_task(tree, typed)
    if problems or config is None:
        raise UserError(*dict.fromkeys(problems))
    return config, notes + _imprecise(config)


def _silence_alternatives(tree: Tree, typed: set[str]) -> None:
    for key in typed & set(ALTERNATIVES):
        for other in set(ALTERNATIVES[key]) - typed:
            _set(tree, other, None)


def _drop_unused_defaults(tree: Tree, typed: set[str]) -> None:
    if _get(tree, "model.core") != "residual" and "model.blocks" not in typed:
        _set(tree, "model.blocks", None)
    backward = _method(_backward_name(tree))
    if backward and backward.kind != "adaptive" and "sensitivity.norm" not in typed:
        _set(tree, "sensitivity.norm", None)


def _validated(tree: Tree) -> tuple[Config | None, dict[str, str]]:
    """The configuration, or for each key that is wrong in itself the line that says so."""
    try:
        return Config.model_validate(tree), {}
    except ValidationError as error:
        wrong: dict[str, str] = {}
        for detail in error.errors():
            key = _key(detail["loc"])
            value = plain(detail["input"])
            match detail["type"]:
                case "extra_forbidden":
                    line = unknown_key(key, detail["input"])
                case "missing":
                    line = f"{key}: missing"
                case "literal_error":
                    expected = detail["ctx"]["expected"].replace(" or ", ", ")
                    line = choose(key, detail["input"], expected.replace("'", "").split(", "))
                case "value_error":
                    line = f"{key}={value}: {detail['ctx']['error']}"
                case "model_type" if schema := section_type(key):
                    line = f"{key}={value}: a section; set one of its keys: " + ", ".join(
                        f"{key}.{name}" for name in schema.model_fields
                    )
                case _:
                    rule = detail["msg"].replace("Input should be", "must be")
                    line = f"{key}={value}: {rule}"
            if key in wrong and line != wrong[key]:  # each member of a union complains
                line = f"{wrong[key]}; or {line.partition(': ')[2]}"
            wrong[key] = line
        return None, wrong


def _unused(tree: Tree) -> list[str]:
    """Options that are set, but that the chosen method does not read."""
    lines = []
    for section, choice, unread in _unread_options(tree):
        options = [key for key in _fields(section) if key not in {*unread, "name"}]
        takes = f"it takes {', '.join(options)}" if options else "it takes no options"
        lines += [
            f"{_show(tree, f'{section}.{key}')}: not used by {choice}; {takes}"
            for key in _fields(section)
            if key in unread and _get(tree, f"{section}.{key}") not in (None, WRONG)
        ]
    return lines


def _unread_options(tree: Tree) -> Iterator[tuple[str, str, set[str]]]:
    """Section, what was chosen there, and the options of the section that it does not read."""
    if (core := _get(tree, "model.core")) in ("ode", "plain", "none"):
        yield "model", f"model.core={core}", {"blocks"}
    if (data := _get(tree, "data.name")) == "digits":
        yield "data", f"data={data}", {"root", "download"}
    if (optimizer := _get(tree, "optimizer.name")) in ("adam", "adamw"):
        yield "optimizer", f"optimizer={optimizer}", {"momentum"}
    if (schedule := _get(tree, "schedule.name")) in ("constant", "cosine"):
        yield "schedule", f"schedule={schedule}", {"milestones", "gamma"}
    if method := _method(solver := _get(tree, "solver.name")):
        tol = {"tol"} if method.options >= TOLERANCES else set()
        yield "solver", f"solver={solver}", {*_fields("solver")} - method.options - tol - {"name"}
    if _get(tree, "sensitivity.name") == "discrete":
        unread = {"norm", "solver", "rtol", "atol"}
        yield "sensitivity", "sensitivity=discrete", unread
    elif backward := _method(name := _backward_name(tree)):
        norm = set() if backward.kind == "adaptive" else {"norm"}
        tolerances = set() if backward.options >= TOLERANCES else {"rtol", "atol"}
        yield "sensitivity", f"the backward solver {name}", norm | tolerances


def _missing(tree: Tree) -> list[str]:
    """What the choices need and was not given."""
    lines = []
    core = _get(tree, "model.core")
    if core in ("ode", "residual", "plain") and _get(tree, "model.field") is None:
        name = _get(tree, "model.name")
        lines.append(f"model.core={core}: model={name} has no field f; choose from none")
    if core == "residual" and _get(tree, "model.blocks") is None:
        lines.append(
            "model.blocks: model.core=residual needs a number of blocks, model.blocks=6, say"
        )
    if core == "ode":
        lines += [
            f"model.core=ode: needs a {group}; choose one with {group}=..."
            for group in ("solver", "sensitivity")
            if tree.get(group) is None
        ]
    if _get(tree, "data.name") not in (None, WRONG, "digits"):
        lines += [
            f"data.{key}: data={_get(tree, 'data.name')} needs it"
            for key in ("root", "download")
            if _get(tree, f"data.{key}") is None
        ]
    if _get(tree, "schedule.name") == "step":
        lines += [
            f"schedule.{key}: schedule=step needs it"
            for key in ("milestones", "gamma")
            if _get(tree, f"schedule.{key}") is None
        ]
    if _get(tree, "solver.name") == "scipy" and _get(tree, "solver.scipy_method") is None:
        lines.append(choose("solver.scipy_method", None, SCIPY_METHODS))
    if _get(tree, "task") == "eval" and _get(tree, "checkpoint") is None:
        lines.append("task=eval: needs checkpoint=<run folder or checkpoint file>")
    return lines + _missing_solver_options(tree)


def _missing_solver_options(tree: Tree) -> list[str]:
    lines = []
    name, backward_name = _get(tree, "solver.name"), _backward_name(tree)
    forward, backward = _method(name), _method(backward_name)
    steps = [key for key in sorted(STEPS) if _get(tree, f"solver.{key}") is not None]
    tolerances = {key for key in TOLERANCES if _get(tree, f"solver.{key}") is not None}
    if _get(tree, "solver.tol") is not None:
        tolerances = set(TOLERANCES)
    if forward and forward.options & STEPS and len(steps) != 1:
        given = " and ".join(_show(tree, f"solver.{key}") for key in steps) or f"solver={name}"
        lines.append(f"{given}: give either solver.step_size or solver.n_steps")
    if forward and forward.options >= TOLERANCES > tolerances:
        lines.append(f"solver={name}: needs solver.tol, or both solver.rtol and solver.atol")
    if _get(tree, "sensitivity.name") == "backsolve" and forward and backward:
        tolerances |= {key for key in TOLERANCES if _get(tree, f"sensitivity.{key}") is not None}
        if backward.options & STEPS and not forward.options & STEPS:
            lines.append(
                f"sensitivity.solver={backward_name}: needs the step_size or n_steps of a "
                f"fixed-step forward solver; solver={name} has none"
            )
        if backward.options >= TOLERANCES > tolerances:
            lines.append(
                f"sensitivity.solver={backward_name}: needs sensitivity.rtol and sensitivity.atol, "
                f"since solver={name} has no tolerances"
            )
    return lines


def _impossible(tree: Tree) -> list[str]:
    """Pairs of choices that cannot work."""
    lines = []
    if (_get(tree, "solver.name"), _get(tree, "sensitivity.name")) == ("scipy", "discrete"):
        lines.append(
            "solver=scipy sensitivity=discrete: scipy's solution carries no gradient; "
            "take sensitivity=backsolve, or another solver"
        )
    milestones = _get(tree, "schedule.milestones")
    if isinstance(milestones, list) and milestones != sorted(set(milestones)):
        lines.append(f"{_show(tree, 'schedule.milestones')}: must increase")
    return lines


def _not_read_by_task(tree: Tree, typed: set[str]) -> list[str]:
    """Typed keys that the chosen task does not read."""
    task = _get(tree, "task")
    unread = {"train": {"checkpoint"}, "eval": NOT_READ_BY_EVAL}.get(task, set())
    return [
        f"{_show(tree, key)}: not used by task={task}"
        for key in sorted(typed)
        if {key, key.split(".")[0]} & unread and _get(tree, key) is not None
    ]


def _imprecise(config: Config) -> list[str]:
    """Tolerances below what the precision can give."""
    if config.solver is None:
        return []
    solvers = [config.forward_solver()]
    backsolve = config.sensitivity and config.sensitivity.name == "backsolve"
    if backsolve and config.task == "train":
        solvers.append(config.backward_solver())
    finest = FINEST_TOLERANCE[config.precision]
    smallest = min((s.rtol for s in solvers if s.rtol is not None), default=finest)
    if smallest >= finest:
        return []
    return [
        f"rtol {smallest:g} is below what precision={config.precision} can give, about {finest:g}"
    ]


def _method(name: Any) -> Method | None:
    return METHODS.get(name) if isinstance(name, str) else None


def _backward_name(tree: Tree) -> Any:
    return _get(tree, "sensitivity.solver") or _get(tree, "solver.name")


def _fields(section: str) -> list[str]:
    schema = section_type(section)
    assert schema is not None
    return list(schema.model_fields)


def _key(location: tuple[int | str, ...]) -> str:
    """The schema's key for pydantic's location, which goes on into lists and unions."""
    depth = 2 if location[0] in Config.model_fields and section_type(str(location[0])) else 1
    return ".".join(str(part) for part in location[:depth])


def _get(tree: Tree, key: str) -> Any:
    section, _, name = key.rpartition(".")
    inner = tree.get(section) if section else tree
    return inner.get(name) if isinstance(inner, dict) else None


def _set(tree: Tree, key: str, value: Any) -> None:
    section, _, name = key.rpartition(".")
    inner = tree.get(section) if section else tree
    if isinstance(inner, dict) and name in inner:
        inner[name] = value


def _show(tree: Tree, key: str) -> str:
    value = _get(tree, key)
    if isinstance(value, dict):  # a group: show which of its files was chosen
        value = value.get("name")
    return f"{key}={plain(value)}"
