"""What a command line or a file may say in Hydra's own part of the configuration."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from node_cli.cli import search
from node_cli.config.messages import plain
from node_cli.errors import one_line

# What a user may set of Hydra's own: folders, and the plugins that launch sweeps.
PLUGIN_GROUPS = ("hydra/launcher", "hydra/sweeper")
PLUGIN_KEYS = ("hydra.launcher", "hydra.sweeper")
HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.searchpath", *PLUGIN_KEYS)

SWEEP_KEYS = ("hydra.sweep.", *PLUGIN_KEYS)

# The only classes that a configuration may name: launchers and sweepers. All are Hydra's own, those
# of its published plugins, or ours. An exact list, since Hydra calls whatever a
# ``_target_`` names, and its packages hold functions that run commands.
LAUNCHERS = (
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
    "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
)
SWEEPERS = ("hydra._internal.core_plugins.basic_sweeper.BasicSweeper", search.TARGET)
TARGETS = {
    "hydra.launcher._target_": LAUNCHERS,
    "hydra.sweeper._target_": SWEEPERS,
}

# Options of plugins that are code: a Python function's name, lines of a job's shell script.
CODE_OPTIONS = tuple(
    f"launcher.{name}" for name in ("setup", "python", "srun_args", "additional_parameters")
)


def problem_with_key(key: str, value: Any, multirun: bool) -> str | None:
    """What is wrong with an override of Hydra's own part, None where nothing is."""
    dotted = key.replace("/", ".")
    inside = any(dotted.startswith(f"{plugin}.") for plugin in PLUGIN_KEYS)
    if "_target_" in key or not (inside or dotted in HYDRA_KEYS):
        return f"{key}={plain(value)}: not to be set; of Hydra's there are {', '.join(HYDRA_KEYS)}"
    if dotted.startswith("hydra.run." if multirun else SWEEP_KEYS):
        return f"{key}: not used {'with' if multirun else 'without'} -m"
    if value in (None, "") or (dotted.endswith(".dir") and not isinstance(value, str)):
        return f"{key}={plain(value)}: must be a {'folder' if dotted.endswith('.dir') else 'name'}"
    if dotted == "hydra.searchpath":
        folders = value if isinstance(value, list) else [value]
        missing = [f for f in folders if not Path(str(f).removeprefix("file://")).is_dir()]
        if missing:
            return f"hydra.searchpath: no such folder {missing[0]}"
        if not isinstance(value, list):
            return f"hydra.searchpath={value}: must be a list, [{value}]"
    return None


def refused(cfg: DictConfig) -> list[str]:
    """What a configuration file may not say in Hydra's own part: code to run other than that of
    Hydra's plugins, and what would make a command run otherwise than it was typed."""
    hydra = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(hydra, dict)
    lines = [
        *(f"{key}: a configuration may not name code to run" for key in _code(cfg, hydra)),
        *_refused_targets(cfg, hydra),
    ]
    lines += [
        f"hydra.job.{name}: not to be set; set the variables in the shell"
        for name in ("env_set", "env_copy")
        if hydra["job"][name]
    ]
    lines += [
        f"hydra.searchpath: {plain(folder)}: must be a folder"
        for folder in hydra["searchpath"]
        if "://" in str(folder).removeprefix("file://")
    ]
    if hydra["mode"] is not None:
        lines.append(f"hydra.mode={hydra['mode'].name}: not in a file; give -m for a sweep")
    if hydra["job"]["chdir"]:
        lines.append("hydra.job.chdir: not used, a run knows its folder")
    if hydra["sweep"]["subdir"] != "${hydra.job.num}":
        lines.append("hydra.sweep.subdir: the jobs lie in 0, 1, ... below hydra.sweep.dir")
    sweeper = hydra["sweeper"]
    if isinstance(sweeper, dict) and sweeper.get("params") and sweeper["_target_"] == SWEEPERS[0]:
        lines.append("hydra.sweeper.params: give the values in the command, -m key=a,b")
    return lines


def _code(cfg: DictConfig, hydra: dict[Any, Any]) -> list[str]:
    """The keys below which Hydra or a plugin takes the name of a function, or shell commands. Those
    options of a launcher that are typed in the command are the user's own, and let through."""
    named = ["hydra.callbacks"] if hydra["callbacks"] else []
    for name in ("job_logging", "hydra_logging"):
        extra = set(hydra[name]) - {"version", "root", "disable_existing_loggers"}
        named += [f"hydra.{name}.{key}" for key in sorted(extra)]
    typed = {str(o).lstrip("+").partition("=")[0] for o in cfg.hydra.overrides.hydra}
    for option in CODE_OPTIONS:
        plugin, _, name = option.partition(".")
        values = hydra[plugin]
        if isinstance(values, dict) and values.get(name) and f"hydra.{option}" not in typed:
            named.append(f"hydra.{option}")
    return named


def _refused_targets(cfg: DictConfig, hydra: dict[Any, Any]) -> list[str]:
    """A line for each ``_target_`` that is not among ``TARGETS``, as written in the files and, of
    what Hydra instantiates, with interpolations resolved."""
    found = dict(_targets(hydra, "hydra"))
    for plugin in ("launcher", "sweeper"):
        if not isinstance(hydra[plugin], dict):
            found[f"hydra.{plugin}._target_"] = plain(hydra[plugin])
            continue
        try:
            resolved = OmegaConf.to_container(cfg.hydra[plugin], resolve=True)
        except OmegaConfBaseException as error:
            return [f"hydra.{plugin}: {one_line(error)}"]
        for key, target in _targets(resolved, f"hydra.{plugin}"):
            if found.setdefault(key, target) != target:  # written as an interpolation
                found[key] = target if target not in TARGETS.get(key, ()) else found[key]
    return [
        f"{key}={target}: a configuration may not name code to run"
        + (f"; choose from {', '.join(TARGETS[key])}" if key in TARGETS else "")
        for key, target in found.items()
        if target not in TARGETS.get(key, ())
    ]


def _targets(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every ``_target_`` below a node, lists included: its key and what it names."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_":
                yield f"{path}.{key}", str(value)
            yield from _targets(value, f"{path}.{key}")
