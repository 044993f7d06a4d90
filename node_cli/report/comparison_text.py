"""Published numbers beside ours, as text in Markdown."""

from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from node_cli.records.measures import unit
from node_cli.records.summary_measures import HEADINGS
from node_cli.report.comparison import Comparison, Entry
from node_cli.report.markdown import number, spread, table

MACHINES = "Seconds were measured on different machines: they do not compare."
NOISE = (
    "In: the published number lies within mean ± standard deviation of our seeds; out: it does not."
)
ONE_SEED = "One seed cannot tell whether a difference is noise (?)."


@dataclass(frozen=True)
class ComparisonText:
    """One or several published tables of the same numbers, versions of one page say, beside the
    same runs.

    ``sources``: a line for each of them. ``header``, ``rows``: the cells of the table. ``keyed``:
    whether its first column is the epoch or step. ``together``: the columns of each measure.
    ``caveats``: what holds for other texts as well.
    """

    title: str
    runs: str
    sources: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[str]] = field(repr=False)
    keyed: bool
    together: Sequence[int]
    verdicts: Sequence[str]
    caveats: Sequence[str]

    def table(self, width: int | None = None) -> str:
        """The table in Markdown. ``width``: of the terminal, where a wider table becomes several;
        None for no limit."""
        return table(self.header, self.rows, width, int(self.keyed), self.together)

    def body(self, width: int | None = None, said: Container[str] = ()) -> str:
        """All but title and runs. ``said``: caveats to leave out."""
        lines = [*self.verdicts, *(caveat for caveat in self.caveats if caveat not in said)]
        return "\n".join([*self.sources, "", self.table(width), *lines]).rstrip() + "\n"


def texts(comparisons: Sequence[Comparison]) -> list[ComparisonText]:
    """Return a text for each comparison; those that differ in nothing but the published numbers
    have one."""
    groups: dict[object, list[Comparison]] = defaultdict(list)
    for c in comparisons:
        groups[c.runs, c.key, *c.names, *(at for at, _ in c.rows)].append(c)
    return [_text(versions) for versions in groups.values()]


def _text(versions: Sequence[Comparison]) -> ComparisonText:
    first = versions[0]
    several = len(versions) > 1
    of_measures = [
        _columns(name, [[row[i] for _, row in version.rows] for version in versions])
        for i, name in enumerate(first.names)
    ]
    columns = [column for of_one in of_measures for column in of_one]
    if first.key:
        columns.insert(0, (first.key, [str(at) for at, _ in first.rows]))
    entries = [e for version in versions for _, row in version.rows for e in row]
    caveats = [version.note for version in versions if version.note]
    if any(e.published is not None and not unit(e.name).comparable for e in entries):
        caveats.append(MACHINES)
    if any(e.inside is not None for e in entries):
        caveats.append(NOISE)
    elif any(e.difference is not None for e in entries):
        caveats.append(ONE_SEED)
    numbered = [f"{i}: " * several for i in range(1, len(versions) + 1)]
    titles = [f"{version.title}, " * several for version in versions]
    return ComparisonText(
        title=first.title,
        runs=first.runs,
        sources=[
            f"({n}{title}{version.source})"
            for n, title, version in zip(numbered, titles, versions, strict=True)
        ],
        header=[name for name, _ in columns],
        rows=list(zip(*(cells for _, cells in columns), strict=True)),
        keyed=first.key is not None,
        together=[len(of_one) for of_one in of_measures],
        verdicts=[
            f"{n}{verdict}"
            for n, version in zip(numbered, versions, strict=True)
            if (verdict := _verdict(version))
        ],
        caveats=list(dict.fromkeys(caveats)),
    )


def _columns(name: str, versions: Sequence[Sequence[Entry]]) -> list[tuple[str, list[str]]]:
    """The columns of one measure: ours and, of each version that has any number, the published ones
    and, except for times, the differences (of fractions in percentage points)."""
    columns = [(HEADINGS.get(name, name), [spread(name, entry.ours) for entry in versions[0]])]
    for i, entries in enumerate(versions, start=1):
        if all(entry.published is None for entry in entries):
            continue
        which = f" {i}" if len(versions) > 1 else ""
        columns.append((f"published{which}", [number(name, e.published) for e in entries]))
        if unit(name).comparable:
            columns.append((f"difference{which}", [_difference(entry) for entry in entries]))
    return columns


def _difference(entry: Entry) -> str:
    if entry.difference is None:
        return ""
    text = unit(entry.name).difference_in_report(entry.difference)
    return f"{text} { {True: 'in', False: 'out', None: '?'}[entry.inside] }"


def _verdict(comparison: Comparison) -> str:
    """How many published numbers lie within the noise of our seeds; empty for a single run."""
    judged = [e for _, entries in comparison.rows for e in entries if e.inside is not None]
    if not judged:
        return ""
    outside = [e.difference for e in judged if not e.inside and e.difference is not None]
    higher, lower = sum(d > 0 for d in outside), sum(d < 0 for d in outside)
    others = f"; of the others ours is higher in {higher} and lower in {lower}" if outside else ""
    return (
        f"{len(judged) - len(outside)} of {len(judged)} published numbers lie within mean ± "
        f"standard deviation of our {comparison.seeds} seeds{others}."
    )
