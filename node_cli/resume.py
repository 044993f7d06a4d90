"""Going on with a run, or a sweep, in its own folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from node_cli.compose import Command, Composer
from node_cli.config.checks import checked
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.run.records import RunFolder, read_csv

# A resumed run goes on as it began, but for these.
RESUME_KEYS = ("epochs", "device", "data.root")


def resumed(location: str, typed: Mapping[str, Any]) -> tuple[RunFolder, Config, list[str]] | None:
    """The folder, configuration and notes to go on with; None where the run is finished.

    ``typed``: the other overrides, key to value. Raises ``UserError`` where one would change what
    the run is, or where there is no training run in the folder.
    """
    folder = RunFolder(Path(location).expanduser())
    tree = folder.read_config()
    problems = [
        f"{key}: not with resume=, which goes on as the run began; choose from "
        f"{', '.join(RESUME_KEYS)}"
        for key in typed
        if key not in RESUME_KEYS
    ]
    if tree.get("task") != "train":
        problems.append(f"resume={location}: not a training run; run the evaluation again")
    if problems:
        raise UserError(*problems)
    checked(tree)
    for key, value in typed.items():
        section, _, name = key.rpartition(".")
        (tree[section] if section else tree)[name] = value
    config, notes = checked(tree, typed)
    rows = read_csv(folder.epochs)
    done = int(rows[-1]["epoch"]) if rows else 0
    if config.epochs < done:
        raise UserError(f"epochs={config.epochs}: the run has already completed {done}")
    if folder.read_status().get("status") == "done" and config.epochs == done:
        return None
    return folder, config, notes


def is_sweep(folder: Path) -> bool:
    return _sweep_file(folder).exists()


def resumed_sweep(folder: Path) -> Command:
    """The jobs of the sweep that began in ``folder``, composed again from what was typed for it.

    Job N lies in, or goes to, the folder N. Raises ``UserError`` where the configuration has become
    wrong since, or ``hydra.sweep.subdir`` named the folders in another way.
    """
    sweep = OmegaConf.load(_sweep_file(folder)).hydra
    if "subdir: ${hydra.job.num}" not in OmegaConf.to_yaml(sweep.sweep):
        raise UserError(f"resume={folder}: hydra.sweep.subdir was set; resume its runs one by one")
    config_dirs = [s.path for s in sweep.runtime.config_sources if s.provider == "command-line"]
    with Composer(sweep.job.config_name, next(iter(config_dirs), None)) as composer:
        command = composer.command([*sweep.overrides.task], multirun=True)
    return replace(command, folder=folder)


def _sweep_file(folder: Path) -> Path:
    return folder / "multirun.yaml"  # written by Hydra
