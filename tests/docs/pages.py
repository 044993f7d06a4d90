"""The pages of the documentation, and what stands in them."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]

DOCS = sorted(REPOSITORY.glob("docs/*.md"))
FRONT = ("README.md", "RESULTS.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = [*(REPOSITORY / name for name in FRONT), *DOCS]

EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CONTINUED = re.compile(r"\\\n\s*")


def name(page: Path) -> str:
    """The path of a page in the repository, for the names of tests."""
    return str(page.relative_to(REPOSITORY))


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    found = _FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for kind, text in found if kind == language]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command of a page; a line with && is several."""
    for block in blocks(page, "bash"):
        for line in _CONTINUED.sub(" ", block).splitlines():
            for command in line.split(" && "):
                if words := shlex.split(command, comments=True):
                    yield words


def anchors(page: Path) -> set[str]:
    """What a link to a heading of a page may name, as GitHub makes it of the heading."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@dataclass(frozen=True)
class Table:
    """A table of a page. ``heading``: the one that it stands under. ``rows``: their cells."""

    heading: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables(page: Path) -> Iterator[Table]:
    """Every table of a page."""
    heading, lines = "", [*prose(page).splitlines(), ""]
    found: list[tuple[str, ...]] = []
    for line in lines:
        if line.startswith("|"):
            found.append(tuple(cell.strip() for cell in line.strip("|").split(" |")))
        elif found:
            yield Table(heading, found[0], found[2:])
            found = []
        if line.startswith("#"):
            heading = line.lstrip("# ")
