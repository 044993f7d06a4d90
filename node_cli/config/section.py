"""A section of a configuration: immutable, of known keys and exact types, in one or more variants.

Most choices have a variant of their own, whose fields are the options that it takes. Which variant
a section has follows from the values of its own keys, mostly from ``name``.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from node_cli.config.tree import Tree, get, show


class Section(BaseModel):
    """``chosen_by``: the values of its keys that choose this variant among those of the section.

    ``spare``: options that its YAML file has for other variants; their defaults are dropped in
    silence. ``absent``: what to say where a required option is null, instead of that it is needed;
    ``{key}`` stands for a value of the section.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True
    )

    chosen_by: ClassVar[Mapping[str, Collection[str]]] = {}
    spare: ClassVar[Collection[str]] = ()
    absent: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def takes(cls) -> list[str]:
        """The keys that can be set; ``name`` says which file of the group was chosen."""
        return [key for key in cls.model_fields if key != "name"]


class Variants:
    """``Annotated[A | B, Variants()]``: the first of the sections A, B that the values choose."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        types: tuple[type[Section], ...] = get_args(source)
        choices = {variant.__name__: handler.generate_schema(variant) for variant in types}

        def tag(values: Any) -> str | None:
            is_section = isinstance(values, Section)  # to be written
            variant = type(values) if is_section else variant_of(types, values)
            return variant.__name__ if variant else None

        return core_schema.tagged_union_schema(choices, tag)


def variant_of(types: Iterable[type[Section]], values: Any) -> type[Section] | None:
    """The first of ``types`` that the values of a section choose; None where no one is chosen."""
    if not isinstance(values, dict):
        return None
    return next((variant for variant in types if _is_chosen(variant, values)), None)


def _is_chosen(variant: type[Section], values: Mapping[str, Any]) -> bool:
    chosen_by = variant.chosen_by.items()
    return all(any(values.get(key) == choice for choice in choices) for key, choices in chosen_by)


def choice_in_words(tree: Tree, section: str, variant: type[Section]) -> str:
    """What the user chose to get this variant: ``solver=rk4``, ``model.core=ode``."""
    keys = (section if key == "name" else f"{section}.{key}" for key in variant.chosen_by)
    return " with ".join(show(tree, key) for key in keys)


def drop_unused(
    tree: Tree,
    typed: Collection[str],
    section: str,
    unused: Iterable[str],
    *,
    by: str,
    takes: Iterable[str],
    spare: Collection[str] = (),
) -> dict[str, str]:
    """Take options out of a section; return a line for each key that the user has to know of.

    ``unused``: the options, of which those that are null are dropped in silence. So are values that
    were not typed where they are ``spare``, or where the group was: a file composed before it may
    have set another choice's options. ``by``: what does not use them; ``takes``: what it uses.
    """
    lines = {}
    options = ", ".join(takes)
    for name in unused:
        key = f"{section}.{name}"
        silent = key not in typed and (section in typed or name in spare)
        if get(tree, key) is not None and not silent:
            takes_in_words = f"it takes {options}" if options else "it takes no options"
            lines[key] = f"{show(tree, key)}: not used by {by}; {takes_in_words}"
        tree[section].pop(name)
    return lines


@dataclass(frozen=True, eq=False)
class OneOf:
    """``Annotated[str, OneOf(choices)]``: a text among the choices."""

    choices: Collection[str]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.literal_schema(list(self.choices))


@dataclass(frozen=True, eq=False)
class Several:
    """``Annotated[dict[str, Section], Several(...)]``: a section in which several choices of its
    group hold at once, each with its options below its name: ``SECTION.CHOICE.OPTION``.

    ``kind``: of the parts that installed packages bring for it. ``ours``: the names of our own
    choices. ``options``: the type of those of a choice, None where that is not known.
    """

    kind: str
    ours: Collection[str]
    options: Callable[[str], type[Section] | None]


def absolute(path: str) -> str:
    """A path that holds in any working directory. Raises ValueError where it is none."""
    if not path:
        raise ValueError("must be a path")
    try:
        return str(Path(path).expanduser().resolve())
    except RuntimeError as error:  # an unknown home
        raise ValueError(str(error)) from error


Location = Annotated[str, AfterValidator(absolute)]
