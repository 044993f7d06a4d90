"""Hydra over our configuration files: the choices of each group, and the composition of overrides.

Installed parts are choices as well, and every file is looked at before Hydra reads it.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from node_cli.cli.search import DEFAULTS, NAME
from node_cli.config.files import CONF, INSTALLED_DATA
from node_cli.config.limits import check_interpolations, check_yaml
from node_cli.config.schema import several
from node_cli.errors import UserError
from node_cli.parts.installed import installed

READ: dict[tuple[str, str, int, int, int], ConfigResult] = {}
"""Files as they were read, by path, provider, inode, time of change and size."""


class HydraFiles:
    """``config_dir``: a folder with further files of the user's. To be used within ``open`` and
    ``close``: there is one Hydra in a process."""

    def __init__(self, config_name: str, config_dir: str | None) -> None:
        self.config_name = config_name
        search_path = create_config_search_path(str(CONF))
        _store_installed()
        if config_dir is not None:
            if not Path(config_dir).is_dir():
                raise UserError(f"--config-dir {config_dir}: no such folder")
            search_path.prepend(
                provider="command-line",
                path=f"file://{Path(config_dir).absolute()}",
                anchor=SearchPathQuery(provider="schema"),
            )
        self.search_path = search_path

    def open(self) -> None:
        """Make Hydra."""
        self.hydra = Hydra.create_main_hydra2("node-train", self.search_path)
        self.loader: Any = self.hydra.config_loader
        self._repositories: dict[tuple[str, ...], Any] = {}  # by folders
        self.files: Any = SourcesRegistry.instance().resolve("file")
        self.unlimited = self.files.load_config
        self.files.load_config = _limited(self.unlimited)  # type: ignore[method-assign]

    def close(self) -> None:
        """Leave no Hydra behind."""
        GlobalHydra.instance().clear()
        self.files.load_config = self.unlimited

    def choices(self, group: str, folders: list[str]) -> list[str]:
        """The files of a group but for those that only others build on; empty for a plain key.

        ``folders``: overrides of where files lie.
        """
        if (key := tuple(folders)) not in self._repositories:  # takes as long as half a composition
            found = self.loader._parse_overrides_and_create_caching_repo(self.config_name, folders)
            self._repositories[key] = found[1]
        options = self._repositories[key].get_group_options(group, ObjectType.CONFIG)
        return [option for option in options if not option.startswith("_")]

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration, Hydra's part included. Raises whatever a file leads Hydra to."""
        cfg = self.hydra.compose_config(self.config_name, [*overrides], RunMode.RUN)
        check_interpolations(OmegaConf.to_container(cfg, resolve=False))
        _name_without_pluses(cfg)
        return cfg


def _store_installed() -> None:
    """Let Hydra know our search, in the place of the plugin of that name, and the data sets and
    regularisers of installed packages, which have no files of their own."""
    store = ConfigStore.instance().store
    store(NAME, DEFAULTS, group="hydra/sweeper", provider="node-train")
    for name in installed("data"):
        node = {"defaults": [INSTALLED_DATA, "_self_"], "name": name}
        store(name, node, group="data", provider="installed packages")
    for section, row in several().items():
        for name in installed(row.kind):
            store(
                name,
                {"name": name},
                group=section,
                package=f"{section}.{name}",
                provider="installed packages",
            )


def _limited(load: Callable[..., ConfigResult]) -> Callable[..., ConfigResult]:
    """Hydra's reading of a file, which is looked at first: see ``config.limits``. Jobs of a sweep
    read the same files again and again, so a file is read once as long as it stays as it is."""

    def load_config(self: Any, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path))
        try:
            state = path.stat()
        except OSError:
            return load(self, config_path)
        key = str(path), self.provider, state.st_ino, state.st_mtime_ns, state.st_size
        if key not in READ:
            check_yaml(path)
            READ[key] = load(self, config_path)
        return deepcopy(READ[key])

    return load_config


def _name_without_pluses(cfg: DictConfig) -> None:
    """``hydra.job.override_dirname`` as it was typed, without the ``++`` that was put in front."""
    job = cfg.hydra.job
    separator = job.config.override_dirname.item_sep
    name = separator.join(part.lstrip("+") for part in job.override_dirname.split(separator))
    with flag_override(cfg.hydra, ["readonly", "struct"], [False, False]):
        job.override_dirname = name
