"""From a composed tree to a checked ``Config``, or all of its problems at once."""

from collections.abc import Iterable
from copy import deepcopy

from pydantic import ValidationError

from node_cli.config import kinds, rules
from node_cli.config.messages import not_among, plain, unknown_key
from node_cli.config.schema import Config, section_type
from node_cli.config.tree import WRONG, Tree, get, put, show
from node_cli.errors import UserError

# A typed key silences those that say the same in another way and were not typed.
ALTERNATIVES = {
    "solver.tol": ("solver.rtol", "solver.atol"),
    "solver.step_size": ("solver.n_steps",),
    "solver.n_steps": ("solver.step_size",),
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
    notes: list[str] = []
    problems = rules.not_read_by_task(tree, typed)
    if get(tree, "task") == "eval":
        tree["sensitivity"] = None  # it computes no gradient, and takes any solver
    if get(tree, "task") == "check_gradients":
        # Every method is checked. This one reads every option, and works with any solver.
        put(tree, "sensitivity.name", "backsolve")
        put(tree, "sensitivity.norm", None)
    if get(tree, "task") != "train":
        put(tree, "published", None)
    said = {line.partition(":")[0] for line in problems}
    problems += [line for line in kinds.fix(tree, typed) if line.partition(":")[0] not in said]
    _silence_alternatives(tree, typed)
    _drop_unused_defaults(tree, typed)

    if get(tree, "model.core") in ("residual", "plain", "none"):
        for key in sorted(k for k in typed if k.split(".")[0] in ("solver", "sensitivity")):
            line = f"{show(tree, key)}: not used, model.core={get(tree, 'model.core')} has no ODE"
            (notes if in_sweep else problems).append(line)
        tree["solver"] = tree["sensitivity"] = None

    config, wrong = _validated(tree)
    for key in wrong:
        put(tree, key, WRONG)
    problems += wrong.values()
    problems += rules.unused(tree) + rules.missing(tree) + rules.impossible(tree)
    if problems or config is None:
        raise UserError(*dict.fromkeys(problems))
    return config, notes + rules.imprecise(config) + rules.without_effect(config)


def _silence_alternatives(tree: Tree, typed: set[str]) -> None:
    for key in typed & set(ALTERNATIVES):
        for other in set(ALTERNATIVES[key]) - typed:
            put(tree, other, None)


def _drop_unused_defaults(tree: Tree, typed: set[str]) -> None:
    for section, _, unread in list(rules.unread_options(tree)):
        if section in typed:  # the group, so that a file before it may have set another's options
            for name in unread - {key.removeprefix(f"{section}.") for key in typed}:
                put(tree, f"{section}.{name}", None)
    if get(tree, "model.core") != "residual" and "model.blocks" not in typed:
        put(tree, "model.blocks", None)
    backward = rules.method_of(rules.backward_name(tree))
    if backward and backward.kind != "adaptive" and "sensitivity.norm" not in typed:
        put(tree, "sensitivity.norm", None)
    if get(tree, "model.core") != "ode" and "model.field_call" not in typed:
        put(tree, "model.field_call", None)
    if get(tree, "solver.engine") == "torchdiffeq" and "solver.controller" not in typed:
        put(tree, "solver.controller", None)
    if get(tree, "train.on_solver_failure") == "raise" and "train.max_skipped" not in typed:
        put(tree, "train.max_skipped", None)


def _validated(tree: Tree) -> tuple[Config | None, dict[str, str]]:
    """The configuration, or for each key that is wrong in itself the line that says so."""
    try:
        return Config.model_validate(tree), {}
    except ValidationError as error:
        wrong: dict[str, str] = {}
        for detail in error.errors():
            key = _key(detail["loc"])
            given = detail["input"] if key.startswith("published.") else get(tree, key)
            value = plain(given)
            match detail["type"]:
                case "extra_forbidden":
                    line = unknown_key(key, given)
                case "missing":
                    line = f"{key}: missing"
                case "literal_error":
                    expected = detail["ctx"]["expected"].replace(" or ", ", ")
                    line = not_among(key, given, expected.replace("'", "").split(", "))
                case "value_error":
                    line = f"{key}={value}: {detail['ctx']['error']}"
                case "model_type" if key in Config.model_fields and (schema := section_type(key)):
                    line = f"{key}={value}: a section; set one of its keys: " + ", ".join(
                        f"{key}.{name}" for name in schema.model_fields
                    )
                case _:
                    rule = detail["msg"].replace("Input should be", "must be")
                    line = f"{key}={value}: {rule}" + ", not text" * isinstance(given, str)
            if key in wrong and line != wrong[key]:  # each member of a union complains
                line = f"{wrong[key]}; or {line.partition(': ')[2]}"
            wrong[key] = line
        return None, wrong


def _key(location: tuple[int | str, ...]) -> str:
    """The schema's key for pydantic's location, which goes on into lists and unions; of published
    tables, the place in them."""
    if location[0] == "published":
        return ".".join(str(part) for part in location)
    depth = 2 if location[0] in Config.model_fields and section_type(str(location[0])) else 1
    return ".".join(str(part) for part in location[:depth])
