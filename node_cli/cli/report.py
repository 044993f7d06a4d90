"""The command report=FOLDER: a page of results from the sweeps in a folder."""

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from node_cli.cli import tables
from node_cli.cli.overrides import key_of
from node_cli.config.files import CONF
from node_cli.config.messages import shell_override
from node_cli.config.section import absolute
from node_cli.display import Display
from node_cli.errors import UserError, complain, one_line
from node_cli.records import sweep_folder
from node_cli.records.damage import damage
from node_cli.records.files import short
from node_cli.records.run_folder import RunFolder
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


def report(location: str, typed: Mapping[str, Any]) -> int:
    """Write RESULTS.md and the folder ``results`` into that folder; return the exit code.

    Both show every sweep in it, at any depth. Nothing is trained. ``typed``: the other overrides;
    only ``report.out``, another folder to write into, is allowed. Raises ``UserError``.
    """
    if others := [key for key in typed if key != OUT]:
        raise UserError(f"{', '.join(others)}: not with report=, which reads what runs have left")
    folder = _path("report", location)
    target = _path(OUT, str(typed[OUT])) if OUT in typed else folder
    sweeps = sweep_folder.sweeps_in(folder, depth="**")
    if not sweeps:
        raise UserError(f"report={folder}: holds no sweep, which -m or table= leaves")
    order = [*tables.find([CONF], [EVERY_TABLE])]
    sweeps.sort(key=lambda path: (path.name not in order, [*order, path.name].index(path.name)))
    command = f"node-train {shell_override('report', folder)}"
    if target != folder:
        command += f" {shell_override(OUT, target)}"
    try:
        target.mkdir(parents=True, exist_ok=True)
        write_results(target, command, [_part(path, _name(path, sweeps)) for path in sweeps])
    except NotOurs as error:
        raise UserError(f"{error}; choose another folder with {OUT}=") from error
    except Exception as error:  # damaged records lead to anything
        raise UserError(f"report={folder}: {one_line(error)}") from error
    for sweep in sweeps:
        for name in sweep_folder.jobs_in(sweep):
            if what := damage(RunFolder(sweep / name)):
                complain(f"{what}; job {name} is left out")
    written = f"{target / 'RESULTS.md'}, {target / 'results'}"
    Display().line(f"{written}; of {', '.join(str(path) for path in sweeps)}")
    return 0


def _path(key: str, typed: str) -> Path:
    try:
        return short(Path(absolute(typed)))
    except ValueError as error:
        raise UserError(f"{key}={typed}: {error}") from error


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
    title, note, plots = name, "", PLOTS
    if "table" in map(key_of, kept):
        kept = [o for o in kept if key_of(o) != "table"]
        command = shlex.join(["node-train", *flags, f"table={folder.name}", *kept])
        own = [] if typed.config_dir is None else [Path(typed.working_directory, typed.config_dir)]
        with contextlib.suppress(UserError):  # the file is no longer there
            table = tables.find([*own, CONF], [folder.name])[folder.name]
            title, note, plots = table.title or name, table.note, table.plots
        if kept:  # the jobs are not those that the plots are named after
            plots = {path: words for path, words in plots.items() if path.startswith("plots/")}
    return SweepPart(folder, name, title, command, note, plots)
