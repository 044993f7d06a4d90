"""The command ``report``: pages of results from the runs, sweeps and tables in folders."""

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from os.path import commonpath
from pathlib import Path
from typing import Any

from node_cli.cli import tables
from node_cli.cli.overrides import key_of
from node_cli.config.files import CONF
from node_cli.config.messages import shell_override
from node_cli.config.section import absolute
from node_cli.display import Display, last_line, tell
from node_cli.errors import UserError, complain, one_line
from node_cli.records import sweep_folder
from node_cli.records.files import short
from node_cli.report.found_runs import find_runs
from node_cli.report.html_page import write_page
from node_cli.report.over_seeds import INCIDENTAL
from node_cli.report.results_page import NotOurs, SweepPart, write_results

EVERY_TABLE = "all"  # the page has the order of this table
OUT = "report.out"

# The plots that are shown of a sweep without a table.
PLOTS = {
    "plots/error.png": "Error over training: mean and range of the seeds.",
    "plots/loss.png": "Loss over training: mean and range of the seeds.",
    "plots/nfe.png": "Evaluations of f in a forward pass.",
    "plots/tolerance.png": "Test error and evaluations of f against the tolerance.",
}


def report(locations: Sequence[str], typed: Mapping[str, Any]) -> int:
    """Write report.html and, where there are sweeps, RESULTS.md and the folder ``results``, into
    the folder that was given, of several into the one that they lie in; return the exit code.

    They show every run, sweep and table in these folders, at any depth. Nothing is trained.
    ``typed``: the other overrides; only ``report.out``, another folder to write into, is allowed.
    Raises ``UserError``, and OSError where they cannot be written.
    """
    if others := [key for key in typed if key != OUT]:
        raise UserError(f"{', '.join(others)}: not with report, which reads what runs have left")
    folders = [_path("report", location) for location in locations]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"report {folder}: no such folder")
    target = _path(OUT, str(typed[OUT])) if OUT in typed else _shared(folders)
    runs = find_runs(folders)
    if not runs:
        raise UserError(f"report {' '.join(map(str, folders))}: holds no run")
    command = shlex.join(["node-train", "report", *map(str, folders)])
    if OUT in typed:
        command += f" {shell_override(OUT, target)}"
    written = [target / "report.html"]
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_page(target / "report.html", command, runs)
        if sweeps := _in_order([s for f in folders for s in sweep_folder.sweeps_in(f, depth="**")]):
            parts = [_part(path, _name(path, sweeps)) for path in sweeps]
            write_results(target, command, parts)
            written += [target / "RESULTS.md", target / "results"]
    except NotOurs as error:
        raise UserError(f"{error}; choose another folder with {OUT}=") from error
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename or str(target)) from error
    except Exception as error:  # damaged records lead to anything
        raise UserError(f"report {' '.join(map(str, folders))}: {one_line(error)}") from error
    damaged = [run for run in runs if run.damage]
    for run in damaged:
        complain(f"{run.damage}; {run.name} is left out")
    count = len(runs) - len(damaged)
    Display().line(f"{', '.join(map(str, written))}; of {count} run{'s' * (count != 1)}")
    tell("report", files=[str(path) for path in written], runs=count)
    last_line(written[0])
    return 0


def _path(key: str, typed: str) -> Path:
    try:
        return short(Path(absolute(typed)))
    except ValueError as error:
        raise UserError(f"{key}={typed}: {error}") from error


def _shared(folders: Sequence[Path]) -> Path:
    """The folder, or the one that several lie in."""
    if len(folders) == 1:
        return folders[0]
    return short(Path(commonpath([folder.absolute() for folder in folders])))


def _in_order(sweeps: Sequence[Path]) -> list[Path]:
    """Each once, tables first, in the order of all tables."""
    order = [*tables.find([CONF], [EVERY_TABLE])]
    once = list({path.absolute(): path for path in sweeps}.values())
    return sorted(once, key=lambda p: (p.name not in order, [*order, p.name].index(p.name)))


def _name(path: Path, sweeps: Sequence[Path]) -> str:
    """The name of the folder; where several sweeps have it, with the folders above it."""
    name = path.absolute().name
    alone = [other.absolute().name for other in sweeps].count(name) == 1
    return name if alone else "_".join(part for part in path.parts if part.strip("./"))


def _part(folder: Path, name: str) -> SweepPart:
    """What the page says of a sweep: its command, and what its table says of it."""
    typed = sweep_folder.read(folder)
    incidental = tuple(f"{key}=" for key in INCIDENTAL)
    kept = [o for o in typed.overrides if not o.startswith(("hydra.", *incidental))]
    flags = [] if typed.config_dir is None else ["--config-dir", typed.config_dir]
    command = shlex.join(["node-train", *flags, "-m", *kept])
    title, note, plots, relative = name, "", PLOTS, ""
    if "table" in map(key_of, kept):
        kept = [o for o in kept if key_of(o) != "table"]
        command = shlex.join(["node-train", *flags, f"table={folder.name}", *kept])
        own = [] if typed.config_dir is None else [Path(typed.working_directory, typed.config_dir)]
        with contextlib.suppress(UserError):  # the file is no longer there
            table = tables.find([*own, CONF], [folder.name])[folder.name]
            title, note, plots = table.title or name, table.note, table.plots
            relative = table.relative
        if kept:  # the jobs are not those that the plots are named after
            plots = {path: words for path, words in plots.items() if path.startswith("plots/")}
    return SweepPart(folder, name, title, command, note, plots, relative.split())
