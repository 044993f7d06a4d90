"""What a command has left in its folder, as facts that can be compared: names and short strings.

A fact is a value (of config.yaml, result.json, status.json) or a hash (of a column of a CSV file,
of a tensor of a checkpoint). Times, memory and what describes the machine are left out.
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Facts = dict[str, str]
Texts = Mapping[str, str]
"""What to put in the place of paths that belong to one recording alone."""

MEASURED = re.compile(r"seconds|images_per_s|memory")
OF_THE_MACHINE = ("environment", "checkpoint")

# Parts of a checkpoint: those that two recordings must have alike, and those that may come and go.
TRAINED = ("model", "optimizer")
ASIDE = ("first_steps", "rng")


def left_behind(folder: Path, texts: Texts) -> Facts:
    """Every fact about the files below a folder, named after file and place in it."""
    facts: Facts = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        facts[f"file {name}"] = "there"
        facts |= {f"{name}: {place}": fact for place, fact in _inside(path, texts)}
    return facts


def _inside(path: Path, texts: Texts) -> Iterator[tuple[str, str]]:
    match path.name:
        case "config.yaml":
            yield from _values(yaml.safe_load(path.read_text()), texts)
        case "status.json":
            status = json.loads(path.read_text())
            yield from _values({key: status[key] for key in ("status", "exit_code")}, texts)
        case "result.json":
            result = json.loads(path.read_text())
            kept = {key: value for key, value in result.items() if key not in OF_THE_MACHINE}
            yield from _values(kept, texts)
        case "last.pt" | "best.pt":
            yield from _tensors(path)
        case name if name.endswith(".csv"):
            yield from _columns(path)


def _values(tree: Any, texts: Texts) -> Iterator[tuple[str, str]]:
    for place, value in _flat(tree):
        if not MEASURED.search(place):
            yield place, without(texts, str(value))


def _columns(path: Path) -> Iterator[tuple[str, str]]:
    """A hash per column; of published numbers the rows of times and memory are left out, too."""
    with path.open(encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if not MEASURED.search(_subject(path, row))]
        names = list(reader.fieldnames or [])
    for name in names:
        if not MEASURED.search(name):
            yield name, _hash("\n".join(str(row[name]) for row in rows).encode())


def _subject(path: Path, row: Mapping[str, str]) -> str:
    return row["name"] if path.name == "published.csv" else ""


def _tensors(path: Path) -> Iterator[tuple[str, str]]:
    import torch

    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    for part in (*TRAINED, *ASIDE):
        for place, value in _flat(checkpoint.get(part), part):
            if isinstance(value, torch.Tensor):
                content = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
                yield place, f"{value.dtype} {[*value.shape]} {_hash(content)}"
            else:
                yield place, str(value)


def _flat(tree: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dicts and lists, with dotted names."""
    match tree:
        case Mapping():
            inner = [(str(key), value) for key, value in tree.items()]
        case str():
            inner = []
        case Sequence():
            inner = [(str(i), value) for i, value in enumerate(tree)]
        case _:
            inner = []
    if not inner:
        yield place, tree
    for key, value in inner:
        yield from _flat(value, f"{place}.{key}" if place else key)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def without(texts: Texts, text: str) -> str:
    """A text with the paths of this recording replaced."""
    for path, word in texts.items():
        text = text.replace(path, word)
    return text


def differences(old: Facts, new: Facts) -> list[str]:
    """What differs, a line per file.

    A value of config.yaml counts where both have it, since keys come and go; a checkpoint has to
    hold the same tensors; of all else nothing may be gone, and more may be there.
    """
    places: dict[str, list[str]] = {}
    for fact in sorted(_kept(old, new) | _kept(new, old)):
        if word := _difference(fact, old.get(fact), new.get(fact)):
            file, _, place = fact.partition(": ")
            places.setdefault(f"{file} {word}", []).append(_part(place))
    return [f"{where}{_listed(parts)}" for where, parts in places.items()]


def _kept(facts: Facts, others: Facts) -> set[str]:
    """Those facts that are not about the inside of a file that the others lack."""
    files = {fact: fact.partition(": ")[0] for fact in facts}
    return {f for f, file in files.items() if file == f or f"file {file}" in others}


def _difference(fact: str, old: str | None, new: str | None) -> str:
    file, _, place = fact.partition(": ")
    both = old is not None and new is not None
    if both:
        return "differs" if old != new else ""
    if file.endswith("config.yaml") or place.startswith(ASIDE):
        return ""
    if new is None:
        return "lacks" if place else "is gone"
    return "has more" if file.endswith(".pt") and place else ""


def _part(place: str) -> str:
    """The weights or the optimizer as a whole; any other place as it is."""
    part = place.partition(".")[0]
    return part if part in (*TRAINED, *ASIDE) else place


def _listed(parts: Sequence[str]) -> str:
    counted = {part: parts.count(part) for part in parts if part}
    words = [f"{part} ({n} entries)" if n > 1 else part for part, n in counted.items()]
    return f": {', '.join(words)}" if words else ""
