"""The text of ``node-train --help TOPIC``, put together from the comments of the YAML files, the
types of the schema, and the docstrings of what a choice names."""

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from pydantic.fields import FieldInfo

from node_cli.cli import examples, tables
from node_cli.cli.ranges import range_of
from node_cli.config import comments, sources
from node_cli.config.files import CONF, choices, default_choices, root_values, values_of, written_in
from node_cli.config.messages import close_to, plain
from node_cli.config.schema import choice_of, keys, sections, several, types_of, variants
from node_cli.config.section import variant_of
from node_cli.config.tasks import TASKS
from node_cli.errors import UserError
from node_cli.parts.installed import choices as names
from node_cli.parts.kinds import KINDS
from node_cli.parts.ours import ours

WIDTH = 100
ROOT = CONF / "config.yaml"

Lines = Iterator[str]


def topic_text(topic: str) -> str:
    """Return all that there is to say of a group, a choice, a key, a task or a part of a model.

    What several things are called stands for all of them. Raises ``UserError`` where nothing has
    the name.
    """
    known = dict(_topics())
    found = [name for name in known if topic in (name, _short(name))]
    if not found:
        hint = close_to(topic, [*known, *map(_short, known)])
        raise UserError(f"--help {topic}: nothing has this name{hint}; see node-train --help")
    return "\n\n".join("\n".join(known[name]()) for name in found) + "\n"


def _short(name: str) -> str:
    """The choice, or the last part of a key."""
    return name.rpartition("=")[2] if "=" in name else name.rpartition(".")[2]


def _topics() -> Iterator[tuple[str, Callable[[], Lines]]]:
    """Every name, and what says all of it."""
    groups = [folder.name for folder in sorted(CONF.iterdir()) if folder.is_dir()]
    for group in groups:
        yield group, partial(_of_group, group)
        for choice in choices(group):
            yield f"{group}={choice}", partial(_of_choice, group, choice)
    for section in sections():
        if section not in groups:
            yield section, partial(_of_section, section)
    for key in keys():
        yield key, partial(_of_key, key)
    for task, traits in TASKS.items():
        yield f"task={task}", partial(_said, f"task={task}", traits.meaning)
    for kind, row in KINDS.items():
        if kind in groups or row.key in groups:
            continue
        yield kind, partial(_of_kind, kind)
        for name, words in ours(kind).items():
            yield f"{row.key}={name}", partial(_said, f"{row.key}={name}", words)


def _of_group(group: str) -> Lines:
    yield from _said(group, comments.of_keys(ROOT).get(f"defaults.{group}", ""))
    yield "\nchoices"
    default = default_choices().get(group)
    width = max(len(f"{group}={choice}") for choice in choices(group))
    for choice in choices(group):
        chosen = " (the default)" if choice == default else ""
        yield from _row(f"{group}={choice}", _meaning_of_choice(group, choice) + chosen, width)
    yield from _key_rows("keys", [key for key in keys() if key.startswith(f"{group}.")])


def _of_section(section: str) -> Lines:
    yield from _said(section, comments.of_keys(ROOT).get(section, ""))
    yield from _key_rows("keys", [key for key in keys() if key.startswith(f"{section}.")])


def _of_kind(kind: str) -> Lines:
    yield from _said(kind, f"what {KINDS[kind].key} names")
    yield "\nchoices"
    for name, words in ours(kind).items():
        yield from _row(name, words)


def _of_choice(group: str, choice: str) -> Lines:
    yield from _said(f"{group}={choice}", _meaning_of_choice(group, choice))
    if said := sources.said_of(group, choice):
        yield ""
        for paragraph in said.split("\n"):
            yield from _wrapped(paragraph, "  ", "  ") if paragraph else [""]
    yield ""
    yield from _row("example", examples.of_choice(group, choice))
    yield from _row("file", _place(written_in(group, choice)[0]))
    values = values_of(group, choice)
    prefix = f"{group}.{choice}" if group in several() else group
    own = {key: values[name] for key in keys() if (name := _option(key, prefix)) in values}
    yield from _key_rows("keys", own, {key: plain(value) for key, value in own.items()})


def _option(key: str, prefix: str) -> str:
    """The name of a key below ``prefix``; empty for another key."""
    section, _, name = key.rpartition(".")
    return name if section == prefix else ""


def _of_key(key: str) -> Lines:
    first, *others = _meanings(key)
    yield from _said(key, first)
    for other in others:
        yield from _wrapped(f"  or: {other}", "", "  ")
    yield ""
    yield from _row("default", _default(key))
    yield from _row("values", _range(key))
    if readers := _readers(key):
        yield from _row("read by", readers)
    yield from _row("example", examples.of_key(key))
    if places := [_place(path) for path, _ in _written(key)]:
        yield from _row("file", ", ".join(dict.fromkeys(places)))


def _said(name: str, words: str) -> Lines:
    yield from _wrapped(f"{name}: {words}" if words else name, "", "  ")


def _key_rows(
    heading: str, names: Iterable[str], defaults: Mapping[str, str] | None = None
) -> Lines:
    """A row for each key. ``defaults``: those of the choice at hand."""
    values = defaults or {key: _default(key) for key in names}
    rows = [(key, f"{_meaning(key)} (default: {values[key]})") for key in names]
    if rows:
        yield f"\n{heading}"
        width = max(len(key) for key, _ in rows)
        for key, words in rows:
            yield from _row(key, words, width)


def _row(name: str, words: str, width: int = 22) -> Lines:
    start = f"  {name:<{width}}  "
    yield from _wrapped(start + words, "", " " * (width + 4))


def _wrapped(text: str, first: str, rest: str) -> Lines:
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _meaning_of_choice(group: str, choice: str) -> str:
    """What its file says of a choice; where it says nothing, what its class does."""
    if group == "table":
        return tables.find([CONF], [choice])[choice].title if choice != "all" else "every table"
    words = comments.of_choice(group, choice)
    if words or group not in sections():
        return words
    variant = variant_of(variants(group), values_of(group, choice))
    return (variant.__doc__ or "").partition("\n\n")[0].replace("\n", " ") if variant else ""


def _written(key: str) -> list[tuple[Path, str]]:
    """The files that a key stands in with a comment, and its name there: that of the default choice
    first, then those that most choices build on."""
    group, _, name = key.rpartition(".")
    if choice_of(key):
        return []
    if group not in default_choices():
        return [(ROOT, key)]
    chosen = [c for c in choices(group) if name in values_of(group, c)]
    count = Counter(path for choice in chosen for path in written_in(group, choice))
    count.update((CONF / group).glob("_*.yaml"))
    default = {*written_in(group, default_choices()[group])} if default_choices()[group] else set()
    paths = sorted(count, key=lambda path: (path not in default, -count[path], path))
    return [(path, name) for path in paths if name in comments.of_keys(path)]


def _ordered(group: str) -> list[str]:
    """The choices of a group, the default one first."""
    default = default_choices().get(group)
    return sorted(choices(group), key=lambda choice: choice != default)


def _meanings(key: str) -> list[str]:
    """All that the files say of a key, or else its type."""
    said = [comments.of_keys(path)[name] for path, name in _written(key)]
    said += [field.description for field in _fields(key) if field.description]
    return [*dict.fromkeys(said)]


def _meaning(key: str) -> str:
    return next(iter(_meanings(key)), "")


def _default(key: str) -> str:
    """The default; where choices differ, each with those that have it."""
    group, _, name = key.rpartition(".")
    if chosen := choice_of(key):
        return plain(values_of(*chosen)[name])
    if group not in default_choices():
        value = root_values()
        for part in key.split("."):
            value = value[part]
        return plain(value)
    by_value: dict[str, list[str]] = {}
    for choice in _ordered(group):
        values = values_of(group, choice)
        if name in values:
            by_value.setdefault(plain(values[name]), []).append(choice)
    if not by_value:
        return "none"
    first, *others = by_value
    return "; ".join([first, *(f"{value} ({', '.join(by_value[value])})" for value in others)])


def _fields(key: str) -> list[FieldInfo]:
    """The fields of a key, one for each variant that has it."""
    name = key.rpartition(".")[2]
    return [kind.model_fields[name] for kind in types_of(key) if name in kind.model_fields]


def _range(key: str) -> str:
    for kind, row in KINDS.items():
        if row.key == key:
            return ", ".join(names(kind))
    return range_of(_fields(key))


def _readers(key: str) -> str:
    """The choices that have a key, where not all of the group do."""
    group, _, name = key.rpartition(".")
    if group not in default_choices() or group not in sections():
        return ""
    able = [choice for choice in choices(group) if name in values_of(group, choice)]
    return "" if able == choices(group) else ", ".join(f"{group}={choice}" for choice in able)


def _place(path: Path) -> str:
    return f"conf/{path.relative_to(CONF)}"
