"""Keys against each other: what is not used, what is missing, what cannot work together."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from typing import Any

from node_cli.config import kinds
from node_cli.config.messages import not_among
from node_cli.config.schema import Config, Precision, section_type
from node_cli.config.tasks import TASKS
from node_cli.config.tree import WRONG, Tree, get, show
from node_cli.ode.solver import METHODS, SCIPY_METHODS, STEPS, TOLERANCES, Method

BACKWARD_SOLVES = ("backsolve", "interpolating", "gauss")
NEEDS_NATIVE = ("checkpointed", "interpolating", "gauss")

# About the relative rounding error of f; below it the error estimate of a step is noise.
FINEST_TOLERANCE: dict[Precision, float] = {
    "float32": 1e-6,
    "tf32": 1e-3,
    "bf16": 1e-2,
    "float64": 1e-14,
}


def unused(tree: Tree) -> list[str]:
    """Options that are set, but that the chosen method does not read."""
    lines = []
    for section, choice, unread in unread_options(tree):
        options = [key for key in _fields(section) if key not in {*unread, "name"}]
        takes = f"it takes {', '.join(options)}" if options else "it takes no options"
        lines += [
            f"{show(tree, f'{section}.{key}')}: not used by {choice}; {takes}"
            for key in _fields(section)
            if key in unread and get(tree, f"{section}.{key}") not in (None, WRONG)
        ]
    return lines


def unread_options(tree: Tree) -> Iterator[tuple[str, str, AbstractSet[str]]]:
    """Section, what was chosen there, and the options of the section that it does not read."""
    if (core := get(tree, "model.core")) in ("ode", "plain", "none", "residual"):
        unread = {"blocks"} if core != "residual" else set()
        unread |= {"field_call"} if core != "ode" else set()
        yield "model", f"model.core={core}", unread
    yield "data", show(tree, "data"), kinds.unread(tree)
    if (optimizer := get(tree, "optimizer.name")) in ("adam", "adamw"):
        yield "optimizer", f"optimizer={optimizer}", {"momentum"}
    if (schedule := get(tree, "schedule.name")) in ("constant", "cosine"):
        yield "schedule", f"schedule={schedule}", {"milestones", "gamma"}
    if get(tree, "eval.every_steps") is None:
        yield "eval", "eval.every_steps=null", {"from_step"}
    if get(tree, "train.on_solver_failure") == "raise":
        yield "train", "train.on_solver_failure=raise", {"max_skipped"}
    if method := method_of(solver := get(tree, "solver.name")):
        tol = {"tol"} if method.options & TOLERANCES else set()
        unread = set(_fields("solver")) - method.options - tol - {"name"}
        choice = f"solver={solver}"
        if "controller" not in unread and get(tree, "solver.engine") == "torchdiffeq":
            unread |= {"controller"}
            choice += " with solver.engine=torchdiffeq"
        yield "solver", choice, unread
    sensitivity = get(tree, "sensitivity.name")
    if sensitivity in ("discrete", "checkpointed"):
        unread = {"norm", "solver", "rtol", "atol"}
        yield "sensitivity", f"sensitivity={sensitivity}", unread
    elif backward := method_of(name := backward_name(tree)):
        has_norm = backward.kind == "adaptive" and sensitivity != "gauss"
        tolerances = TOLERANCES - backward.options
        choice = f"sensitivity={sensitivity} with the solver {name}"
        yield "sensitivity", choice, tolerances | (set() if has_norm else {"norm"})


def missing(tree: Tree) -> list[str]:
    """What the choices need and was not given."""
    lines = []
    core, task = get(tree, "model.core"), get(tree, "task")
    if core in ("ode", "residual", "plain") and get(tree, "model.field") is None:
        name = get(tree, "model.name")
        lines.append(
            f"model.core={core}: model={name} has no field f; set model.field, or model.core=none"
        )
    if core == "residual" and get(tree, "model.blocks") is None:
        lines.append(
            "model.blocks: model.core=residual needs a number of blocks, model.blocks=6, say"
        )
    if core == "ode":
        lines += [
            f"model.core=ode: needs a {group}; choose one with {group}=..."
            for group in (("solver",) if task == "eval" else ("solver", "sensitivity"))
            if tree.get(group) is None
        ]
    lines += kinds.missing(tree)
    if get(tree, "schedule.name") == "step":
        lines += [
            f"schedule.{key}: schedule=step needs it"
            for key in ("milestones", "gamma")
            if get(tree, f"schedule.{key}") is None
        ]
    if get(tree, "solver.name") == "scipy" and get(tree, "solver.scipy_method") is None:
        lines.append(not_among("solver.scipy_method", None, SCIPY_METHODS))
    if task == "eval" and get(tree, "checkpoint") is None:
        lines.append("task=eval: needs checkpoint=<run folder or checkpoint file>")
    return lines + _missing_solver_options(tree)


def _missing_solver_options(tree: Tree) -> list[str]:
    lines = []
    name, backwards = get(tree, "solver.name"), backward_name(tree)
    forward, backward = method_of(name), method_of(backwards)
    steps = [key for key in sorted(STEPS) if get(tree, f"solver.{key}") is not None]
    missing = {key for key in TOLERANCES if get(tree, f"solver.{key}") is None}
    if get(tree, "solver.tol") is not None:
        missing = set()
    if forward and forward.options & STEPS and len(steps) != 1:
        given = " and ".join(show(tree, f"solver.{key}") for key in steps) or f"solver={name}"
        lines.append(f"{given}: give either solver.step_size or solver.n_steps")
    if forward and forward.options & missing:
        lines.append(f"solver={name}: needs solver.tol, or both solver.rtol and solver.atol")
    if get(tree, "sensitivity.name") in BACKWARD_SOLVES and forward and backward:
        missing -= {key for key in missing if get(tree, f"sensitivity.{key}") is not None}
        if backward.options & STEPS and not forward.options & STEPS:
            lines.append(
                f"sensitivity.solver={backwards}: needs the step_size or n_steps of a "
                f"fixed-step forward solver; solver={name} has none"
            )
        if backward.options & missing:
            lines.append(
                f"sensitivity.solver={backwards}: needs sensitivity.rtol and sensitivity.atol, "
                f"since solver={name} has no tolerances"
            )
    return lines


def impossible(tree: Tree) -> list[str]:
    """Pairs of choices that cannot work."""
    lines = kinds.impossible(tree)
    solver, engine = get(tree, "solver.name"), get(tree, "solver.engine")
    sensitivity = get(tree, "sensitivity.name")
    if (solver, sensitivity) == ("scipy", "discrete"):
        lines.append(
            "solver=scipy sensitivity=discrete: scipy's solution carries no gradient; "
            "take sensitivity=backsolve, or another solver"
        )
    native = [name for name, method in METHODS.items() if "native" in method.engines]
    if (method := method_of(solver)) and engine == "native" and engine not in method.engines:
        lines.append(
            f"solver.engine=native: does not have solver={solver}; take engine=torchdiffeq, "
            f"or a solver among {', '.join(native)}"
        )
    elif sensitivity in NEEDS_NATIVE and engine == "torchdiffeq":
        lines.append(
            f"sensitivity={sensitivity}: needs the steps of solver.engine=native, which has "
            f"{', '.join(native)}; with engine=torchdiffeq take sensitivity=backsolve"
        )
    back = get(tree, "sensitivity.solver")
    if sensitivity == "gauss" and method_of(back) and back not in native:
        lines.append(
            f"sensitivity.solver={back}: sensitivity=gauss needs dense output; "
            f"choose from {', '.join(native)}"
        )
    if engine == "torchdiffeq" and get(tree, "solver.first_step") == "warm":
        lines.append(
            "solver.first_step=warm: not with solver.engine=torchdiffeq; give a number, or "
            "take engine=native"
        )
    core = get(tree, "model.core")
    if get(tree, "task") == "check_gradients" and core in ("residual", "plain", "none"):
        lines.append(
            f"model.core={core}: has no ODE, so that task=check_gradients has nothing to check; "
            "choose a model with model.core=ode"
        )
    milestones = get(tree, "schedule.milestones")
    if isinstance(milestones, list) and milestones != sorted(set(milestones)):
        lines.append(f"{show(tree, 'schedule.milestones')}: must increase")
    return lines


def not_read_by_task(tree: Tree, typed: set[str]) -> list[str]:
    """Typed keys that the chosen task does not read."""
    task = get(tree, "task")
    if not isinstance(task, str) or (traits := TASKS.get(task)) is None:
        return []
    unread = traits.unread
    if get(tree, "checkpoint") is not None:
        unread |= traits.unread_with_checkpoint
    return [
        f"{show(tree, key)}: not used by task={task}{traits.instead.get(key, '')}"
        for key in sorted(typed)
        if ({key, key.split(".")[0]} & unread or key in traits.unread_choices)
        and get(tree, key) is not None
    ]


def imprecise(config: Config) -> list[str]:
    """Tolerances below what the precision can give."""
    if config.solver is None:
        return []
    solvers = [config.forward_solver()]
    if config.sensitivity and config.sensitivity.name in BACKWARD_SOLVES:
        solvers.append(config.backward_solver())
    finest = FINEST_TOLERANCE[config.precision]
    smallest = min((s.rtol for s in solvers if s.rtol is not None), default=finest)
    if smallest >= finest:
        return []
    return [
        f"rtol {smallest:g} is below what precision={config.precision} can give, about {finest:g}"
    ]


def without_effect(config: Config) -> list[str]:
    """A schedule that ends before it begins."""
    milestones = config.schedule.milestones or []
    if config.task != "train" or not milestones or milestones[0] < config.epochs:
        return []
    text = ",".join(map(str, milestones))
    return [
        f"schedule.milestones=[{text}]: none is below epochs={config.epochs}, "
        "the learning rate stays as it is"
    ]


def method_of(name: Any) -> Method | None:
    """The solver of that name, None where there is none."""
    return METHODS.get(name) if isinstance(name, str) else None


def backward_name(tree: Tree) -> Any:
    """The backward solver: by default the forward one."""
    return get(tree, "sensitivity.solver") or get(tree, "solver.name")


def _fields(section: str) -> list[str]:
    schema = section_type(section)
    assert schema is not None
    return list(schema.model_fields)
