"""Rules across sections: what a task reads, and what cannot work together."""

from node_cli.config import data, model, optimizer, regularize, sensitivity, solver, train
from node_cli.config.eval import missing_top_k
from node_cli.config.schema import Config, Precision, several
from node_cli.config.tasks import TASKS, TaskTraits
from node_cli.config.tree import Tree, get, put, show
from node_cli.data.catalog import TRAJECTORIES

# About the relative rounding error of f; below it the error estimate of a step is noise.
FINEST_TOLERANCE: dict[Precision, float] = {
    "float32": 1e-6,
    "tf32": 1e-3,
    "bf16": 1e-2,
    "float64": 1e-14,
}


def not_read_by_task(tree: Tree, typed: set[str]) -> list[str]:
    """Typed keys that the chosen task does not read."""
    if (traits := traits_of(tree)) is None:
        return []
    unread = traits.unread
    if get(tree, "checkpoint") is not None:
        unread |= traits.unread_with_checkpoint
    return [
        f"{show(tree, key)}: not used by {show(tree, 'task')}{traits.instead.get(key, '')}"
        for key in sorted(typed)
        if ({key, key.split(".")[0]} & unread or key in traits.unread_choices)
        and get(tree, key) is not None
    ]


def fix_for_task(tree: Tree) -> None:
    """Put in what a task leaves no choice in."""
    if (traits := traits_of(tree)) is None:
        return
    if traits.gradients == "none":
        tree["sensitivity"] = None  # it takes any solver
    elif traits.gradients == "every":
        # This method reads every option, and works with any solver.
        put(tree, "sensitivity.name", "backsolve")
        put(tree, "sensitivity.norm", None)
    if "compile" in traits.unread:
        put(tree, "compile", False)
    for section in several():
        if section in traits.unread:
            tree[section] = {}
    if traits.gradients != "chosen":
        put(tree, "train.accumulate", 1)
    if not traits.trains:
        put(tree, "published", None)
        put(tree, "observers", [])
        put(tree, "init_from", None)


def unused_start(tree: Tree, typed: set[str]) -> dict[str, str]:
    """What says how to start from weights, without any; how to draw weights that are all given."""
    traits = traits_of(tree)
    if traits is None or not traits.trains:
        return {}
    if get(tree, "init_from") is None:
        keys, instead = {"init_from_strict"}, "init_from=null, there are no weights to start from"
    elif get(tree, "init_from_strict") is True:
        keys, instead = {"model.init"}, "init_from, all weights are given"
    else:
        return {}
    return {key: f"{show(tree, key)}: not used with {instead}" for key in sorted(keys & typed)}


def traits_of(tree: Tree) -> TaskTraits | None:
    """What is known of the chosen task; None where there is none of its name."""
    task = get(tree, "task")
    return TASKS.get(task) if isinstance(task, str) else None


def missing(tree: Tree) -> list[str]:
    """What the choices need and was not given."""
    lines = []
    traits = traits_of(tree)
    if get(tree, "model.core") == "ode":
        needed = ["solver"] if traits and traits.gradients == "none" else ["solver", "sensitivity"]
        lines += [
            f"model.core=ode: needs a {group}; choose one with {group}=..."
            for group in needed
            if tree.get(group) is None
        ]
    for key, words in (traits.needs if traits else {}).items():
        if get(tree, key) is None:
            lines.append(f"{show(tree, 'task')}: needs {key}={words}")
    return lines + solver.missing(tree) + sensitivity.missing(tree) + missing_top_k(tree)


def impossible(tree: Tree) -> list[str]:
    """Choices that do not work together."""
    parts = (data, model, solver, sensitivity, optimizer, train, regularize)
    lines = [line for part in parts for line in part.impossible(tree)]
    traits, core = traits_of(tree), get(tree, "model.core")
    if traits and traits.trains:
        lines += _impossible_observers(tree)
    if traits and traits.needs_ode and core in ("residual", "plain", "none"):
        lines.append(
            f"model.core={core}: has no ODE, so that {show(tree, 'task')} has nothing to check; "
            "choose a model with model.core=ode"
        )
    if traits and traits.needs_images and get(tree, "data.name") in [*TRAJECTORIES]:
        lines.append(f"{show(tree, 'data')}: not with {show(tree, 'task')}, which needs images")
    return lines


def can_compile(config: Config) -> bool:
    """Whether a configuration could have ``compile=true``."""
    return not impossible({**config.model_dump(), "compile": True})


def _impossible_observers(tree: Tree) -> list[str]:
    """An observer that is named twice."""
    names = get(tree, "observers")
    if not isinstance(names, list):
        return []
    twice = [name for name in dict.fromkeys(map(str, names)) if names.count(name) > 1]
    return [f"{show(tree, 'observers')}: {name} is given twice" for name in twice]


def imprecise(config: Config) -> list[str]:
    """Tolerances below what the precision can give."""
    finest = FINEST_TOLERANCE[config.precision]
    tolerances = [s.rtol for s in config.solvers() if s.rtol is not None]
    smallest = min(tolerances, default=finest)
    if smallest >= finest:
        return []
    return [
        f"rtol {smallest:g} is below what precision={config.precision} can give, about {finest:g}"
    ]


def without_effect(config: Config) -> list[str]:
    """A schedule that ends before it begins."""
    milestones = getattr(config.schedule, "milestones", None)
    if not TASKS[config.task].trains or not milestones or milestones[0] < config.epochs:
        return []
    text = ",".join(map(str, milestones))
    return [
        f"schedule.milestones=[{text}]: none is below epochs={config.epochs}, "
        "the learning rate does not change"
    ]
