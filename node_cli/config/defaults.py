"""The YAML files that hold the defaults, read without Hydra.

A configuration that an older version has written lacks the keys that are new since: they take the
defaults of today's files.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from node_cli.config.schema import Config, sections, variants
from node_cli.config.section import variant_of
from node_cli.config.tree import Tree

# In a wheel the configuration lies inside the package, in a checkout beside it.
CONF = next(
    folder
    for folder in (Path(__file__).parents[1] / "conf", Path(__file__).parents[2] / "conf")
    if folder.is_dir()
)


def fill(tree: Tree) -> None:
    """Give missing keys the defaults of the shipped files: those of the root, and of the groups
    the files that were chosen. A choice that has no file among these stays as it is."""
    missing = [name for name in Config.model_fields if name not in tree]
    if not missing and not any(_lacks_options(tree, section) for section in sections()):
        return
    root = _values(CONF / "config.yaml")
    choices = _choices()
    for name in missing:
        if name in choices:
            tree[name] = dict(_values(CONF / name / f"{choices[name]}.yaml"))
        elif name in root:
            tree[name] = root[name]
    for section in sections():
        if isinstance(values := tree.get(section), dict):
            file = CONF / section / f"{values.get('name')}.yaml"
            if section not in choices:
                defaults = root.get(section, {})
            else:
                defaults = _values(file) if file.is_file() else {}
            values |= {k: _resolved(v, tree) for k, v in defaults.items() if k not in values}


def _lacks_options(tree: Tree, section: str) -> bool:
    values = tree.get(section)
    if not isinstance(values, dict) or (variant := variant_of(variants(section), values)) is None:
        return False
    return not set(variant.model_fields) <= set(values)


def _resolved(value: Any, tree: Tree) -> Any:
    """``${key}``, the only interpolation that the files have, is the value of a root key."""
    key = re.fullmatch(r"\$\{(\w+)\}", value) if isinstance(value, str) else None
    return tree.get(key[1]) if key else value


@cache
def _choices() -> dict[str, str]:
    """The default choice of each group, null ones and Hydra's own aside."""
    entries = _read(CONF / "config.yaml")["defaults"]
    chosen = {k: v for entry in entries if isinstance(entry, dict) for k, v in entry.items()}
    return {group: name for group, name in chosen.items() if group in Config.model_fields}


@cache
def _values(path: Path) -> dict[str, Any]:
    """The values of a file over those of the files that its defaults list names."""
    content = dict(_read(path))
    values: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            values |= _values(path.with_name(f"{entry}.yaml"))
    return values | content


def _read(path: Path) -> dict[str, Any]:
    from omegaconf import OmegaConf

    content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
