"""The parts that a configuration names: whether there are such, their options, and the packages
that they come from."""

from collections.abc import Callable, Collection, Iterator
from functools import cache

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticSerializationError

from node_cli.config import files
from node_cli.config.messages import close_to, not_among, plain, wrong_value
from node_cli.config.schema import choice_of, several
from node_cli.config.tree import Tree, get, lay, show
from node_cli.errors import UserError
from node_cli.parts.installed import InstalledNames, choices, installed, named, unusable, version_of
from node_cli.parts.kinds import KINDS, OPTIONS, Kind
from node_cli.parts.options import options_of
from node_cli.parts.ours import made_by, ours
from node_cli.regularisers.installed import traits_of

PACKAGES = "packages"


def is_option(key: str) -> bool:
    """Whether a key is an option of a part: which ones there are, the part says."""
    if chosen := choice_of(key):
        section, choice = chosen
        return choice in InstalledNames(several()[section].kind)
    return any(key.startswith(f"{options}.") for options in OPTIONS)


def unused(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    """Drop the options that the chosen parts do not have; lines for those to be told, by key."""
    lines: dict[str, str] = {}
    for kind, row in KINDS.items():
        given = get(tree, row.options) if row.options else None
        if not isinstance(given, dict) or not (given or kind == "data"):
            continue  # the schema says what is wrong with it
        names, why = _options_of_choice(tree, kind, row)
        if names is None:
            continue
        # Those of a file were written for its own part: none hold for another one that was typed.
        mine = {o for o in given if {row.options, f"{row.options}.{o}"} & {*typed}}
        asked = mine if row.key in typed else {*given}
        told = mine if _is_of_another_file(tree, typed, row) else asked
        for name in told - {*names}:
            key = f"{row.options}.{name}"
            lines[key] = f"{key}={plain(given[name])}: not used{why(name)}"
        left = {name: v for name, v in given.items() if name in asked & {*names}}
        lay(tree, str(row.options), left)
        if row.key == "data.name" and not names:
            tree["data"].pop("options")  # other sets have keys of their own
    return lines


def _is_of_another_file(tree: Tree, typed: Collection[str], row: Kind) -> bool:
    """Whether an option that nobody typed, and the chosen part does not have, is one of a part that
    another file has chosen: of the model without its core, or of an experiment whose model or data
    was typed otherwise. What stands in a file of the user's own may be misspelt."""
    if _has_no_field(tree, row):
        return True
    section = row.key.partition(".")[0]
    choice = get(tree, f"{section}.name")
    return section in typed and isinstance(choice, str) and choice in files.choices(section)


def _has_no_field(tree: Tree, row: Kind) -> bool:
    return row.key == "model.field" and get(tree, "model.core") == "none"


def settle(tree: Tree) -> tuple[dict[str, str], list[str]]:
    """Give every option of the chosen parts its value, and ``packages`` what they come from.

    Return what is wrong, by key, and notes for the user. A package is imported where one of its
    parts is chosen.
    """
    problems: dict[str, str] = {}
    notes: list[str] = []
    made_with = get(tree, PACKAGES)
    made_with = made_with if isinstance(made_with, dict) else {}
    needed: dict[str, str] = {}
    for kind, row in KINDS.items():
        for name in names_of(tree, row):
            if name in ours(kind):
                notes += [
                    f"{row.key}={name}: node-train's own, not that of {other.origin}"
                    for other in named(kind, name)
                ]
            elif part := installed(kind).get(name):
                needed[part.package] = part.version
            else:
                place = f"{row.key}.{name}" if row.key in problems else row.key
                problems[place] = _unknown(kind, row, name, made_with)
        if row.options and row.key not in problems and not _has_no_field(tree, row):
            problems |= _settle_options(tree, kind, row)
    tree[PACKAGES] = needed
    notes += [
        f"{package}: version {version} is installed, made with {made_with[package]}"
        for package, version in needed.items()
        if made_with.get(package, version) != version
    ]
    return problems, notes


def names_of(tree: Tree, row: Kind) -> Iterator[str]:
    """The names that a configuration chooses of a kind, and uses."""
    if _has_no_field(tree, row):
        return
    value = get(tree, row.key)
    if row.key == "model.field" and isinstance(stages := get(tree, "model.stages"), list):
        value = [value, *(stage.get("field") for stage in stages if isinstance(stage, dict))]
    several = isinstance(value, list | dict)
    yield from (n for n in (value if several else [value]) if isinstance(n, str))


def _unknown(kind: str, row: Kind, name: str, made_with: dict[str, str]) -> str:
    """The line for a name that there is no part of."""
    key = row.key.removesuffix(".name")
    for part in named(kind, name):
        return f"{key}={plain(name)}: {unusable(part)}"
    missing = [f"{p} {v}" for p, v in made_with.items() if version_of(str(p)) is None]
    if missing:
        verb = "which is not installed" if len(missing) == 1 else "which are not installed"
        return f"{key}={plain(name)}: made with {' and '.join(missing)}, {verb}"
    return not_among(key, name, choices(kind))


def _options_of_choice(
    tree: Tree, kind: str, row: Kind
) -> tuple[Collection[str] | None, Callable[[str], str]]:
    """The options that the chosen part has, None where that cannot be told; and what to say of
    another one."""
    if _has_no_field(tree, row):
        return (), lambda name: ", model.core=none has no field f"
    name, choice = get(tree, row.key), show(tree, row.key.removesuffix(".name"))
    there: list[str] | None = []
    if isinstance(name, str) and (kind != "data" or name not in ours(kind)):
        try:
            there = [*options_model(kind, name).model_fields]
        except UserError:  # told by ``settle``
            there = None
    takes = f"it takes {', '.join(there)}" if there else "which has no options"
    close = "" if there else ","
    return there, lambda name: f" by {choice}{close or close_to(name, there or ()) + ';'} {takes}"


def _settle_options(tree: Tree, kind: str, row: Kind) -> dict[str, str]:
    """Put in the options of a part as plain values; the lines for those that are wrong, by key.

    Where none is given, one of our own keeps the defaults of its signature: reading it would import
    torch.
    """
    assert row.options is not None
    section, _, inner = row.options.partition(".")
    name = get(tree, row.key)
    if not isinstance(values := tree.get(section), dict):
        return {}
    if kind == "data" and name not in InstalledNames(kind):
        return {}  # ours have keys of their own
    given = values.setdefault(inner, {})
    if not isinstance(given, dict) or not isinstance(name, str):
        return {}  # the schema says what is wrong with it
    if not given and name not in InstalledNames(kind):
        return {}
    try:
        model = options_model(kind, name)
        found = model.model_validate(given).model_dump(mode="json")
        model.model_validate(found)  # as they will be read from a file
    except UserError as error:
        return {row.options: error.problems[0]}
    except ValidationError as error:
        return dict(_problem(tree, row, given, detail) for detail in error.errors())
    except PydanticSerializationError:
        return {row.options: f"{row.key}={name}: has an option that a file cannot hold"}
    values[inner] = found
    return {}


@cache
def options_model(kind: str, name: str) -> type[BaseModel]:
    """The options of a part. Imports it. Raises ``UserError`` where there is no such part, and as a
    package leads to."""
    if kind == "regulariser" and (traits := traits_of(name)):
        return traits.options
    row = KINDS[kind]
    what = f"{row.key.removesuffix('.name')}={name}"
    if name in ours(kind):
        return options_of(made_by(kind, name), row.given, what)
    if (part := installed(kind).get(name)) is None:
        raise UserError(not_among(row.key, name, choices(kind)))
    made = part.load()
    if not callable(made):
        raise UserError(f"{what}: {part.origin} names nothing that can be called")
    return options_of(made, row.given, f"{what}: {part.origin}")


def _problem(tree: Tree, row: Kind, given: Tree, detail: ErrorDetails) -> tuple[str, str]:
    name = str(detail["loc"][0])
    key = f"{row.options}.{name}"
    if detail["type"] == "missing":
        return key, f"{key}: {show(tree, row.key.removesuffix('.name'))} needs it"
    return key, wrong_value(key, given.get(name), detail)
