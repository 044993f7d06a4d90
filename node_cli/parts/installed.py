"""The parts that installed packages bring, found by their entry points.

A package registers them in its pyproject.toml::

    [project.entry-points."node_train.fields"]
    damped = "my_parts.damped:Damped"

Finding them reads the metadata of the installed packages and imports none of them. A package is
imported once one of its parts is chosen; what goes wrong then is one line.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from node_cli.errors import UserError, one_line
from node_cli.parts.kinds import KINDS
from node_cli.parts.ours import ours

NAME = re.compile(r"(?!(?:true|false|null)$)[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Installed:
    """A part of an installed package. ``entry``: its entry point."""

    kind: str
    name: str
    package: str
    version: str
    entry: metadata.EntryPoint

    @property
    def origin(self) -> str:
        """The package and its version."""
        return f"{self.package} {self.version}"

    def load(self) -> Any:
        """Import the package; return what the entry point names. Raises ``UserError``."""
        try:
            return self.entry.load()
        except (Exception, SystemExit) as error:  # whatever a package does when it is imported
            raise UserError(
                f"{KINDS[self.kind].key}={self.name}: {self.origin} cannot be imported, "
                f"{self.entry.value}: {type(error).__name__}, {one_line(error)}"
            ) from error


@dataclass(frozen=True)
class Registered:
    """What packages have registered, usable or not. ``unreadable``: a line for each package whose
    own description cannot be read."""

    parts: tuple[Installed, ...]
    unreadable: tuple[str, ...]


@cache
def registered() -> Registered:
    """Look through the installed packages. Cost: some milliseconds, once."""
    packages: dict[str, tuple[Installed, ...]] = {}
    unreadable = []
    for distribution in metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
            if "[node_train." not in text:
                continue
            name = re.sub(r"[-_.]+", "-", distribution.name).lower()
            packages.setdefault(name, tuple(_parts_of(distribution)))  # the first is imported
        except Exception as error:  # a file that someone has edited, or that is half there
            where = getattr(distribution, "_path", "a package")
            unreadable.append(f"{where}: entry points not readable ({one_line(error)})")
    parts = tuple(part for found in packages.values() for part in found)
    return Registered(parts, tuple(unreadable))


def _parts_of(distribution: metadata.Distribution) -> Iterator[Installed]:
    groups = {kind.group: name for name, kind in KINDS.items()}
    for entry in distribution.entry_points:
        if entry.group in groups:
            version = distribution.version or "of unknown version"
            yield Installed(groups[entry.group], entry.name, distribution.name, version, entry)


def installed(kind: str) -> dict[str, Installed]:
    """The parts of a kind that can be chosen, by name."""
    found = {part.name: part for part in registered().parts if part.kind == kind}
    return {name: part for name, part in found.items() if unusable(part) is None}


def unusable(part: Installed) -> str | None:
    """Why a registered part cannot be chosen; None where it can."""
    if not NAME.fullmatch(part.name):
        return "a name has letters, digits, _ and - alone"
    if part.name in ours(part.kind):
        return f"node-train has a {part.kind} of this name itself"
    twins = named(part.kind, part.name)
    if len(twins) > 1:
        return f"registered more than once, by {' and '.join(p.origin for p in twins)}"
    return None


def named(kind: str, name: str) -> list[Installed]:
    """The parts that packages have registered under a name, usable or not."""
    return [part for part in registered().parts if (part.kind, part.name) == (kind, name)]


def choices(kind: str) -> list[str]:
    """Every name that a configuration can choose."""
    return [*ours(kind), *installed(kind)]


def version_of(package: str) -> str | None:
    """The version of an installed package, None where there is none."""
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):
        return None


class InstalledNames(Collection[str]):
    """The names of a kind that installed packages bring, looked up whenever they are asked for."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __iter__(self) -> Iterator[str]:
        return iter(installed(self.kind))

    def __len__(self) -> int:
        return len(installed(self.kind))

    def __contains__(self, name: object) -> bool:
        return name in installed(self.kind)
