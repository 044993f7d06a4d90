"""What a command line or a file may say in Hydra's own part of the configuration."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from node_cli.config.messages import plain

# What a user may set of Hydra's own: folders, and the plugins that launch sweeps.
PLUGIN_KEYS = ("hydra.launcher", "hydra.sweeper")
HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.searchpath", *PLUGIN_KEYS)

SWEEP_KEYS = ("hydra.sweep.", *PLUGIN_KEYS)

# Where the code lies that launchers and sweepers may name.
PLUGINS = ("hydra.", "hydra_plugins.", "optuna.")


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
    """What a configuration file may not say in Hydra's own part: code to run other than Hydra's,
    and what would make a command run otherwise than it was typed."""
    hydra = OmegaConf.to_container(cfg.hydra, resolve=False)
    assert isinstance(hydra, dict)
    named = [key for key, target in _targets(hydra, "hydra") if not target.startswith(PLUGINS)]
    named += ["hydra.callbacks"] if hydra["callbacks"] else []
    for name in ("job_logging", "hydra_logging"):
        extra = set(hydra[name]) - {"version", "root", "disable_existing_loggers"}
        named += [f"hydra.{name}.{key}" for key in sorted(extra)]
    lines = [f"{key}: a configuration may not name code to run" for key in named]
    if hydra["mode"] is not None:
        lines.append(f"hydra.mode={hydra['mode'].name}: not in a file; give -m for a sweep")
    if hydra["job"]["chdir"]:
        lines.append("hydra.job.chdir: not used, a run knows its folder")
    if hydra["sweep"]["subdir"] != "${hydra.job.num}":
        lines.append("hydra.sweep.subdir: the jobs lie in 0, 1, ... below hydra.sweep.dir")
    if hydra["sweeper"].get("params") and hydra["sweeper"]["_target_"].endswith(".BasicSweeper"):
        lines.append("hydra.sweeper.params: give the values in the command, -m key=a,b")
    return lines


def _targets(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every ``_target_`` below a node: its key and what it names."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "_target_":
                yield f"{path}.{key}", str(value)
            yield from _targets(value, f"{path}.{key}")
