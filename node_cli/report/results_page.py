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
from node_cli.report.summary import averages, summarise


@dataclass(frozen=True)
class Section:
    """One sweep. ``name``: that of its folder below ``results``. ``plots``: files in its own
    folder, each with what it shows."""

    folder: Path
    name: str
    title: str
    command: str
    note: str
    plots: Mapping[str, str]


def write_results(target: Path, command: str, sections: Sequence[Section]) -> None:
    """Write RESULTS.md, and a folder for each sweep into ``results``, into ``target``; what else
    lies there stays.

    ``command``: what made them. Brings the summaries and plots of the sweeps up to date. Raises
    OSError, and ValueError where ``results`` has runs in it.
    """
    files = target / "results"
    for section in sections:
        for name in ("sweep.json", "status.json"):
            if (files / section.name / name).exists():
                raise ValueError(f"{files / section.name}: is a folder of runs, not of results")
    parts = [_section(section, files / section.name) for section in sections]
    contents = "\n".join(f"- [{s.title}](#{_anchor(s.title)})" for s in sections)
    intro = (
        "# Results\n\n"
        "Sweeps, and published numbers beside ours. Written from run folders by\n\n"
        f"```bash\n{command}\n```\n\n"
        "and never by hand. Each part names the command that ran it; `node-train table=all` runs "
        "all of them. ± is the standard deviation over the seeds; a difference is ours less the "
        "published number, and has a * where that lies outside the range of our seeds.\n\n"
    )
    write_text(target / "RESULTS.md", f"{intro}{contents}\n\n" + "\n".join(parts))


def _section(section: Section, files: Path) -> str:
    rows = summarise(section.folder)
    folders = [RunFolder(section.folder / row["job"]) for row in rows]
    files.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(section.folder / "summary.csv", files / "summary.csv")
    comparisons = compare(folders)
    if comparisons:
        write(files / "published.csv", comparisons)
    parts = [f"## {section.title}", f"```bash\n{section.command}\n```", section.note]
    unfinished = [f"{row['job']} ({row['status']})" for row in rows if row["status"] != "done"]
    parts += [f"Jobs that are not done: {', '.join(unfinished)}."] if unfinished else []
    parts += [averages(rows), *_machines(folders)]
    for comparison in comparisons:
        heading, _, body = comparison.as_text().partition("\n")
        parts.append(f"### {heading}\n\n`{comparison.runs}`\n{body}")
    for path, caption in section.plots.items():
        if (section.folder / path).exists():
            copy = files / path.replace("plots/", "").replace("/", "_")
            shutil.copyfile(section.folder / path, copy)
            parts.append(f"![{caption}](results/{section.name}/{copy.name})\n\n*{caption}*")
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _machines(folders: Sequence[RunFolder]) -> list[str]:
    """Where the runs were made, a line for each machine and set of versions."""
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
    """The name that a heading of Markdown has as a target."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
