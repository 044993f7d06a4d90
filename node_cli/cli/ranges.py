"""The values that a key takes, in words, from its type in the schema."""

from collections.abc import Iterable, Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BeforeValidator
from pydantic.fields import FieldInfo

from node_cli.config.section import OneOf, absolute

NOTHING = "?"  # no key takes it

BOUNDS = {Gt: ("gt", "above"), Ge: ("ge", "from"), Lt: ("lt", "below"), Le: ("le", "to")}


def range_of(fields: Iterable[FieldInfo]) -> str:
    """The values of a key: ``a whole number from 1, or null``. ``fields``: one for each variant of
    its section that has it."""
    words = list(dict.fromkeys(word for f in fields for word in _words(f.annotation, f.metadata)))
    if "null" in words:
        words = [word for word in words if word != "null"] + ["null"]
    return ", or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def choices_of(field: FieldInfo) -> list[str]:
    """The words that a key takes, none where it takes any."""
    words = _words(field.annotation, field.metadata)
    return [word for word in words if word.replace("_", "").isalnum()]


def _words(annotation: Any, metadata: Any) -> Iterator[str]:
    metadata = [*_flat(metadata)]
    if one_of := [m for m in metadata if isinstance(m, OneOf)]:
        yield from map(str, one_of[0].choices)
        return
    for validator in metadata:
        if isinstance(validator, BeforeValidator | AfterValidator):
            if validator.func is absolute:
                yield "a path"
                return
            if words := _refusal(validator.func):
                yield words
                return
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        yield from _words(inner, [*more, *metadata])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _words(part, metadata)
    elif origin is Literal:
        yield from map(str, get_args(annotation))
    elif origin is list:
        (inner,) = get_args(annotation)
        yield f"a list, each {', '.join(_words(inner, []))}"
    elif origin is dict:
        yield "options by name"
    elif annotation is bool:
        yield from ("true", "false")
    elif annotation in (int, float):
        name = "a whole number" if annotation is int else "a number"
        yield " ".join([name, *_bounds(metadata)])
    elif annotation is NoneType:
        yield "null"
    elif annotation is str:
        yield "text"
    else:
        yield getattr(annotation, "__name__", str(annotation)).lower()


def _flat(metadata: Any) -> Iterator[Any]:
    for part in metadata:
        yield from part.metadata if isinstance(part, FieldInfo) else [part]


def _bounds(metadata: list[Any]) -> Iterator[str]:
    for kind, (name, words) in BOUNDS.items():
        for bound in metadata:
            if isinstance(bound, kind):
                yield f"{words} {getattr(bound, name):g}"


def _refusal(function: Any) -> str:
    """What a validator says that it takes; empty where it takes anything."""
    try:
        function(NOTHING)
    except ValueError as error:
        words = str(error)
        return words.removeprefix("choose from ").removeprefix("choose ")
    except Exception:  # it expects another type
        return ""
    return ""
