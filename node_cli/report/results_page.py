"""RESULTS.md: the tables and plots of sweeps on one page, and the small files behind them."""

import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node_cli.records.files import write_text
from node_cli.records.run_folder import RunFolder
from node_cli.report.comparison import compare, write
from node_cli.report.comparison_text import MACHINES, NOISE, ONE_SEED, texts
from node_cli.report.relative import relative
from node_cli.report.summary import averages, summarise, typed_keys

WRITTEN_BY_US = "written from the\nfolders of runs, never by hand"
INTRO = f"""\
# Results

Measured results, beside the published ones where there are any. This page is {WRITTEN_BY_US}:

```bash
{{command}}
```

Each section names the command that made its runs. `node-train table=all` runs every table of the
published systems. To read the tables:

- ± is the standard deviation over the seeds.
- Accuracies (acc), losses and NFE, the evaluations of f per batch, are those of the last epoch;
  seconds (s), and what says "run", are of the whole run.
- A difference is ours minus the published number, in percentage points for accuracies and errors.
  "In" says that the published number lies within mean ± standard deviation of our seeds, "out" that
  it does not; of a single seed (?) it cannot be told.
- Seconds depend on the machine and on what else it was doing: do not compare them with the
  published ones, nor between tables.
- Rows with `model.core=plain` (the layers of f, applied once) and `model.core=none` (stem and head
  alone) are controls without an ODE.
"""


RELATIVE = "Relative to the first row, seed by seed: differences of accuracies, ratios of the rest."


class NotOurs(ValueError):
    """There is a file already that this page did not write."""


@dataclass(frozen=True)
class SweepPart:
    """What the page shows of one sweep.

    ``folder``: with its runs. ``name``: of its folder below ``results``. ``plots``: files in
    ``folder``, each with what it shows. ``relative``: the numbers that are also shown relative to
    the first setting.
    """

    folder: Path
    name: str
    title: str
    command: str
    note: str
    plots: Mapping[str, str]
    relative: Sequence[str] = ()


def write_results(target: Path, command: str, sweeps: Sequence[SweepPart]) -> None:
    """Write RESULTS.md, and a folder for each sweep into ``results``, into ``target``; other files
    there stay, and so do the sections of other sweeps, whose runs need not be there any more.

    ``command``: that the page names as its origin. The summaries and plots of the sweeps are
    brought up to date. Raises OSError, and ``NotOurs`` where what would be written over was not
    written by this function.
    """
    page, files = target / "RESULTS.md", target / "results"
    before = page.read_text(encoding="utf-8", errors="replace") if page.exists() else ""
    ours = WRITTEN_BY_US in before
    if page.exists() and not ours:
        raise NotOurs(f"{page}: not written by report")
    for sweep in sweeps:
        folder = files / sweep.name
        if any((folder / name).exists() for name in ("sweep.json", "status.json")):
            raise NotOurs(f"{folder}: is a folder of runs, not of results")
        if folder.exists() and not ours:
            raise NotOurs(f"{folder}: not written by report, there is no {page} that shows it")
    said = {MACHINES, NOISE, ONE_SEED}  # in the introduction, and so nowhere else
    new = [(sweep.title, _part(sweep, files / sweep.name, said)) for sweep in sweeps]
    sections = _with_new(_sections(before), new)
    contents = "\n".join(f"- [{title}](#{_anchor(title)})" for title, _ in sections)
    intro = INTRO.format(command=command)
    write_text(page, f"{intro}\n{contents}\n\n" + "\n".join(text for _, text in sections))


Sections = list[tuple[str, str]]
"""Titles, and texts with them."""


def _sections(page: str) -> Sections:
    texts = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    return [(text.partition("\n")[0], f"## {text.rstrip()}\n") for text in texts]


def _with_new(old: Sections, new: Sections) -> Sections:
    """New sections in the place of old ones of the same title, and the others at the end."""
    titles = {title for title, _ in new}
    kept = [section for section in old if section[0] not in titles]
    if not kept:
        return new
    sections: Sections = []
    for title in dict.fromkeys(title for title, _ in (*old, *new)):
        sections += [
            section for section in (new if title in titles else old) if section[0] == title
        ]
    return sections


def _part(sweep: SweepPart, files: Path, said: set[str]) -> str:
    """Return the text of a sweep; its small files go into ``files``. ``said``: caveats that the
    page has told already."""
    rows = summarise(sweep.folder)
    legible = [row for row in rows if row["status"] != "damaged"]
    folders = [RunFolder(sweep.folder / row["job"]) for row in legible]
    files.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(sweep.folder / "summary.csv", files / "summary.csv")
    comparisons = compare(folders)
    if comparisons:
        write(files / "published.csv", comparisons)
    parts = [f"## {sweep.title}", f"```bash\n{sweep.command}\n```", sweep.note]
    unfinished = [f"{row['job']} ({row['status']})" for row in rows if row["status"] != "done"]
    parts += [f"Jobs that are not done: {', '.join(unfinished)}."] if unfinished else []
    parts += [averages(rows)]
    if of_first := relative(sweep.folder, legible, typed_keys(rows), sweep.relative):
        parts += [RELATIVE, of_first]
    parts += _machines(folders)
    for text in texts(comparisons):
        parts.append(f"### {text.title}\n\n`{text.runs}`\n{text.body(said=said)}")
        said.update(text.caveats)
    for path, caption in sweep.plots.items():
        if (sweep.folder / path).exists():
            copy = files / path.replace("plots/", "").replace("/", "_")
            shutil.copyfile(sweep.folder / path, copy)
            parts.append(f"![{caption}](results/{sweep.name}/{copy.name})\n\n*{caption}*")
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _machines(folders: Sequence[RunFolder]) -> list[str]:
    """A line for each machine and set of versions that the runs were made with."""
    lines = []
    for folder in folders:
        environment: dict[str, Any] = folder.read_result().get("environment", {})
        with suppress(KeyError, TypeError):  # of another version
            threads = environment["threads"]
            lines.append(
                f"{environment['device_name']}, {environment['device']}, {threads} "
                f"thread{'s' * (threads != 1)}; node-train {environment['node_train']}, "
                f"Python {environment['python']}, torch {environment['packages']['torch']}."
            )
    return list(dict.fromkeys(lines))


def _anchor(title: str) -> str:
    """The target of a link to a heading in Markdown."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
