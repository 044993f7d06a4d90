"""From a composed tree to a checked ``Config``, or all of its problems at once."""

from collections.abc import Collection, Container, Iterable, Mapping
from copy import deepcopy
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from node_cli.config import (
    data,
    defaults,
    model,
    parts,
    rules,
    sensitivity,
    several_choices,
    solver,
    train,
)
from node_cli.config.eval import unused_batch_norm, unused_first_step, unused_top_k
from node_cli.config.messages import close_to, not_among, plain, wrong_value
from node_cli.config.schema import (
    OF_THE_ODE,
    Config,
    choice_of,
    keys,
    keys_of_choice,
    options,
    sections,
    several,
    variants,
)
from node_cli.config.section import Section, choice_in_words, drop_unused, variant_of
from node_cli.config.tasks import UNREAD_BY_EVALUATIONS
from node_cli.config.tree import WRONG, Tree, get, put, show
from node_cli.errors import UserError


def checked(
    tree: Tree, typed: Iterable[str] = (), *, elsewhere: Container[str] = ()
) -> tuple[Config, list[str]]:
    """Check a composed tree; return the configuration and notes for the user, one line each.

    ``typed``: the keys that the user typed; one that has no effect is a problem, while a default
    that has none is dropped. ``elsewhere``: the keys that another job of the sweep uses, as solver
    keys in a sweep over models: they only give a note. Keys that are missing take the defaults of
    the YAML files.
    Raises ``UserError`` with every problem found.
    """
    given, typed = get(tree, "data.augment"), set(typed)
    tree, problems, unused = _without_unused(tree, typed)
    of_parts, notes = parts.settle(tree)
    if isinstance(given, bool) and "data.augment" in typed and get(tree, "data.augment") != given:
        notes.append(f"data.augment={plain(given)}: is a list now, {show(tree, 'data.augment')}")
    said = {_key_of(line) for line in problems}
    for key, line in unused.items():
        if key not in said:
            (notes if key in elsewhere else problems).append(line)

    # One line for one mistake: what has no effect may be wrong in itself, too, as may keys that
    # follow it; and no rule says anew what is wrong in itself.
    said |= {_key_of(line) for line in problems}
    config, wrong = _validated(tree)
    wrong |= of_parts
    all_wrong = said | wrong.keys()
    followers = {key for key in wrong.keys() - typed if defaults.followed(tree, key) in all_wrong}
    for key in wrong:
        if get(tree, key) is not None:
            put(tree, key, WRONG)
    problems += [line for key, line in wrong.items() if key not in said | followers]
    of_rules = [*rules.missing(tree), *rules.impossible(tree)]
    problems += [line for line in of_rules if _key_of(line) not in all_wrong]
    if problems or config is None:
        raise UserError(*dict.fromkeys(problems))
    return config, notes + rules.imprecise(config) + rules.without_effect(config)


def without_training(tree: Tree) -> Tree:
    """A configuration without the parts that a training alone uses, whose packages are not needed
    to read what was trained."""
    unread: Tree = {section: {} for section in several() if section in UNREAD_BY_EVALUATIONS}
    return {**tree, **unread, "observers": []}


def used_keys(tree: Tree, typed: Iterable[str]) -> set[str]:
    """Those of the typed keys that have an effect on a composed tree."""
    typed = set(typed)
    _, _, unused = _without_unused(tree, typed)
    return typed - unused.keys()


def _without_unused(tree: Tree, typed: set[str]) -> tuple[Tree, list[str], dict[str, str]]:
    """A copy of a composed tree without what has no effect; lines for what its task or its data
    leave no choice in; and for each key that the chosen variants do not use, a line."""
    tree = deepcopy(tree)
    defaults.fill(tree)
    problems = rules.not_read_by_task(tree, typed)
    rules.fix_for_task(tree)
    said = {line.partition(":")[0] for line in problems}
    problems += [line for line in data.fix(tree, typed) if line.partition(":")[0] not in said]
    solver.silence_alternatives(tree, typed)

    unused: dict[str, str] = {}
    if get(tree, "model.core") in ("residual", "plain", "none"):
        for key in sorted(k for k in typed if k.split(".")[0] in OF_THE_ODE):
            core = get(tree, "model.core")
            unused[key] = f"{show(tree, key)}: not used, model.core={core} has no ODE"
        for section in OF_THE_ODE:
            tree[section] = {} if section in several() else None
    unused |= several_choices.drop_unused(tree, typed) | rules.unused_start(tree, typed)
    return tree, problems, unused | _of_other_variants(tree, typed)


def _of_other_variants(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    """Drop the options of other variants than the chosen ones; the lines for those to be told."""
    lines = parts.unused(tree, typed)
    for section in sections():
        if (variant := variant_of(variants(section), tree.get(section))) is not None:
            others = set(options(section)) - set(variant.model_fields)
            lines |= drop_unused(
                tree,
                typed,
                section,
                [key for key in options(section) if key in others and key in tree[section]],
                by=choice_in_words(tree, section, variant),
                takes=variant.takes(),
                spare=variant.spare,
            )
    lines |= (
        unused_top_k(tree, typed) | unused_batch_norm(tree, typed) | unused_first_step(tree, typed)
    )
    lines |= train.unused_min_delta(tree, typed) | data.unused_options(tree, typed)
    return lines | model.unused(tree, typed) | sensitivity.unused(tree, typed)


def _validated(tree: Tree) -> tuple[Config | None, dict[str, str]]:
    """The configuration, or for each key that is wrong in itself the line that says so."""
    try:
        return Config.model_validate(tree), {}
    except ValidationError as error:
        wrong: dict[str, str] = {}
        for detail in error.errors():
            key, line = _problem(tree, detail)
            if key in wrong and line != wrong[key]:  # each member of a union complains
                line = f"{wrong[key]}; or {line.partition(': ')[2]}"
            wrong[key] = line
        return None, wrong


def _key_of(line: str) -> str:
    """The key that a line begins with."""
    return line.partition(":")[0].partition("=")[0]


def _problem(tree: Tree, detail: ErrorDetails) -> tuple[str, str]:
    """The key that pydantic complains of, and the line for the user."""
    section = str(detail["loc"][0])
    key = _key(detail["loc"])
    in_list = section == "published" or key.startswith("model.stages.")
    given = detail["input"] if in_list else get(tree, key)
    values = tree.get(section)
    variant = variant_of(variants(section), values) if section in sections() else None
    value = plain(given)
    match detail["type"]:
        case "extra_forbidden" if key.startswith("model.stages."):
            names = ", ".join(model.Stage.model_fields)
            line = f"{key}={value}: no such key; a stage has {names}"
        case "extra_forbidden":
            line = unknown_key(key, given)
        case "literal_error":
            line = wrong_value(key, given, detail)
        case _ if variant and given is None and (words := _needed(tree, variant, section, key)):
            line = words
        case "union_tag_invalid" | "union_tag_not_found" if isinstance(values, dict):
            return _not_chosen(section, values)
        case "model_type" | "union_tag_not_found" if key in sections():
            names = ", ".join(f"{key}.{name}" for name in options(key))
            line = f"{key}={value}: a section; set one of its keys: {names}"
        case _:
            line = wrong_value(key, given, detail)
    return key, line


def _needed(tree: Tree, variant: type[Section], section: str, key: str) -> str | None:
    """The line for an option that this variant needs, and others do not have or need."""
    name = key.removeprefix(f"{section}.")
    if words := variant.absent.get(name):
        return words.format_map(tree[section])
    if all(name in other.model_fields for other in variants(section)):
        return None
    return f"{key}: {choice_in_words(tree, section, variant)} needs it"


def _not_chosen(section: str, values: Mapping[str, Any]) -> tuple[str, str]:
    """The key by which a variant is chosen, and the line for a value that chooses none."""
    types = variants(section)
    name = next(iter(types[0].chosen_by))
    key = f"{section}.{name}"
    if name not in values:
        return key, f"{key}: missing"
    choices = dict.fromkeys(choice for t in types for choice in t.chosen_by[name])
    return key, not_among(key, values[name], choices)


def _key(location: tuple[int | str, ...]) -> str:
    """The schema's key for pydantic's location, which has the name of a variant after that of its
    section, and goes on into lists and unions; of published tables, the place in them."""
    section = str(location[0])
    if section == "published":
        return ".".join(map(plain, location))
    if section in several():
        return ".".join(map(str, location))
    if section not in sections():
        return section
    inner = location[2:] if len(variants(section)) > 1 else location[1:]
    if inner[:1] == ("stages",):
        return ".".join(map(str, (section, *inner)))
    return f"{section}.{inner[0]}" if inner else section


def unknown_key(key: str, value: Any) -> str:
    """The line for a key that the schema does not have."""
    known = [
        *keys(),
        *(keys_of_choice(*chosen) if (chosen := choice_of(key)) else ()),
        *sections(),
        "experiment",
        "table",
        "resume",
        "report",
    ]
    section, _, name = key.rpartition(".")
    if name == "name" and section:
        return f"{key}={plain(value)}: not a key to set; choose with {section}={plain(value)}"
    same_name = [k for k in known if k.rpartition(".")[2] == name]
    hint = close_to(key, known) or (f" (did you mean {same_name[0]}?)" if same_name else "")
    neighbours = [k for k in known if k.rpartition(".")[0] == section] or [
        k for k in known if "." not in k
    ]
    if isinstance(value, dict):
        hint += " (a file of root keys begins with # @package _global_)"
    return f"{key}={plain(value)}: no such key{hint}; there are {', '.join(neighbours)}"
