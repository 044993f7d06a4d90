"""The runs that a report compares: single ones and the jobs of sweeps, at any depth of folders."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from node_cli.errors import UserError
from node_cli.records import sweep_folder
from node_cli.records.damage import damage
from node_cli.records.files import read_csv
from node_cli.records.run_folder import RunFolder
from node_cli.report.over_seeds import INCIDENTAL

# Keys that are no part of a setting.
ASIDE = ("seed", "published", "packages", "observers", "resume", "sweep", *INCIDENTAL)

EXPERIMENT = "experiment"
MISSING = ""


@dataclass(frozen=True)
class FoundRun:
    """A run. ``name``: its folder, as a reader tells it from the others. ``config_dir``: that of
    its sweep, if it has one."""

    folder: RunFolder
    name: str
    config_dir: str | None = None

    @cached_property
    def damage(self) -> str | None:
        """What is damaged of its records; then the other attributes may raise ``UserError``."""
        return damage(self.folder)

    @cached_property
    def status(self) -> str:
        """How it stands: see ``RunFolder.standing``."""
        return "damaged" if self.damage else self.folder.standing()

    @cached_property
    def result(self) -> Mapping[str, Any]:
        """The content of result.json."""
        return self.folder.read_result()

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The configuration by dotted key, ``None`` for a section that there is none of; what was
        typed as ``experiment=`` is one of the keys, and ``ASIDE`` is left out. ``compile=auto`` of
        a finished run is what it came to."""
        tree = {k: v for k, v in self.folder.read_config().items() if k not in ASIDE}
        chosen = [o for o in self.overrides if o.startswith(f"{EXPERIMENT}=")]
        flat = dict(_flat(tree))
        flat[EXPERIMENT] = chosen[-1].partition("=")[2] if chosen else None
        if flat.get("compile") == "auto":
            flat["compile"] = self.result.get("compiled", "auto")
        return {key: value for key, value in flat.items() if key not in ASIDE}

    @cached_property
    def seed(self) -> int:
        """The seed; 0 where a configuration does not say."""
        seed = self.folder.read_config().get("seed")
        return seed if isinstance(seed, int) else 0

    @cached_property
    def overrides(self) -> Sequence[str]:
        """What was typed for it, but for folders."""
        aside = ("hydra.", *(f"{key}=" for key in INCIDENTAL))
        return [
            o for t in self.folder.read_overrides() if not (o := t.lstrip("+")).startswith(aside)
        ]

    def value(self, key: str) -> str:
        """The value of a dotted key as text; ``MISSING`` where it was not recorded."""
        if key in self.config:
            return as_typed(self.config[key])
        while key:  # a section that there is none of
            key = key.rpartition(".")[0]
            if key in self.config:
                return as_typed(self.config[key])
        return MISSING

    def command(self, seeds: Sequence[int] | None = None) -> str:
        """The command that repeats it; with ``seeds`` a sweep over these."""
        flags = [] if self.config_dir is None else ["--config-dir", self.config_dir]
        if seeds is None or len(seeds) < 2:
            return shlex.join(["node-train", *flags, *self.overrides])
        typed = [o for o in self.overrides if not o.startswith("seed=")]
        swept = f"seed={','.join(map(str, seeds))}"
        return shlex.join(["node-train", *flags, "-m", *typed, swept])

    def rows(self, record: str) -> list[dict[str, str]]:
        """The rows of one of its CSV files."""
        return read_csv(self.folder.path / record)


def find_runs(folders: Sequence[Path]) -> list[FoundRun]:
    """Return the runs in folders, or of which they are the folders, each once.

    Of a sweep its jobs alone: a copy of one that lies beside them is none of it.
    """
    found: dict[Path, tuple[Path, str | None]] = {}
    for folder in folders:
        for path, config_dir in _below(folder):
            found.setdefault(path.absolute(), (path, config_dir))
    above = _shared([path for path, _ in found.values()])
    runs = []
    for whole, (path, config_dir) in found.items():
        name = whole.relative_to(above).as_posix()
        runs.append(FoundRun(RunFolder(path), whole.name if name == "." else name, config_dir))
    return runs


def _below(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """The run folders at or below a folder, each with the ``--config-dir`` of its sweep."""
    if sweep_folder.is_sweep(folder):
        config_dir = _config_dir(folder)
        for name in sweep_folder.jobs_in(folder):
            yield folder / name, config_dir
        return
    if (folder / "config.yaml").is_file():
        above = folder.absolute().parent
        yield folder, _config_dir(above) if sweep_folder.is_sweep(above) else None
        return
    try:
        inside_it = sorted(folder.iterdir(), key=_in_order)
    except OSError as error:
        raise UserError(f"{folder}: {error.strerror}") from error
    for inside in inside_it:
        if inside.is_dir() and not inside.name.startswith(".") and not inside.is_symlink():
            yield from _below(inside)


def _config_dir(sweep: Path) -> str | None:
    try:
        return sweep_folder.read(sweep).config_dir
    except UserError:  # whoever needs it says so
        return None


def _in_order(path: Path) -> tuple[int, str]:
    """Jobs are folders with a number for a name."""
    return (int(path.name), "") if path.name.isdecimal() else (-1, path.name)


def _shared(paths: Sequence[Path]) -> Path:
    """The deepest folder that all lie in."""
    above = [p.absolute().parents for p in paths]
    return next(a for a in above[0] if all(a in others for others in above)) if above else Path()


def _flat(tree: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{within}{key}.")
        else:
            yield f"{within}{key}", value


def as_typed(value: object) -> str:
    """A value of a configuration as one types it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return json.dumps(value)
