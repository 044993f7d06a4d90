"""The YAML files of the configuration, read without Hydra."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from node_cli.parts.installed import installed

# In a wheel the configuration lies inside the package, in a checkout beside it.
CONF = next(
    folder
    for folder in (Path(__file__).parents[1] / "conf", Path(__file__).parents[2] / "conf")
    if folder.is_dir()
)

INSTALLED_DATA = "_installed"


def choices(group: str) -> list[str]:
    """The files of a group but for those that only others build on."""
    return sorted(f.stem for f in (CONF / group).glob("*.yaml") if not f.stem.startswith("_"))


def values_of(group: str, choice: str) -> dict[str, Any]:
    """The values of a choice of a group, those it shares with others included; none where it has
    no file. Interpolations are left as they are. A data set of an installed package has those of
    ``INSTALLED_DATA``."""
    if choice in choices(group):
        return deepcopy(_values(CONF / group / f"{choice}.yaml"))
    if group == "data" and choice in installed("data"):
        return deepcopy(_values(CONF / group / f"{INSTALLED_DATA}.yaml")) | {"name": choice}
    return {}


def common_values(group: str) -> dict[str, Any]:
    """The values that all choices of a group have in common, from ``_GROUP.yaml``; none where it
    has no such file."""
    path = CONF / group / f"_{group}.yaml"
    return deepcopy(_values(path)) if path.is_file() else {}


def root_values() -> dict[str, Any]:
    """The values of config.yaml, without those of the groups."""
    return deepcopy(_values(CONF / "config.yaml"))


def written_in(group: str, choice: str) -> list[Path]:
    """The file of a choice, and those that it builds on, whose values it may replace."""
    found = [CONF / group / f"{choice}.yaml"]
    for path in found:  # grows
        names = [e for e in _read(path).get("defaults", []) if isinstance(e, str) and e != "_self_"]
        found += [path.with_name(f"{name}.yaml") for name in names]
    return found


@cache
def default_choices() -> dict[str, Any]:
    """What config.yaml chooses of each group."""
    entries = _read(CONF / "config.yaml")["defaults"]
    return {k: v for entry in entries if isinstance(entry, dict) for k, v in entry.items()}


@cache
def _values(path: Path) -> dict[str, Any]:
    """The values of a file over those of the files that its defaults list names."""
    content = dict(_read(path))
    values: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            values |= _values(path.with_name(f"{entry}.yaml"))
    return values | content


@cache
def _read(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf

    content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
