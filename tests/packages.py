"""Installing packages of parts, for tests: real metadata in a folder that is searched first."""

import importlib
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

from hydra.core.config_store import ConfigStore

from node_cli.config.parts import options_model
from node_cli.data import arrays
from node_cli.parts.installed import installed, registered
from node_cli.regularisers import installed as installed_regularisers

FIELD = '''
from typing import Literal

from torch import nn


class Damped(nn.Module):
    """-rate y + W2 tanh(W1 y)."""

    def __init__(
        self, state, *, width: int = 8, act: Literal["tanh", "relu"] = "tanh", rate: float = 1.0
    ):
        super().__init__()
        (size,) = state
        self.rate = rate
        self.layers = nn.Sequential(nn.Linear(size, width), nn.Tanh(), nn.Linear(width, size))

    def forward(self, t, y):
        return self.layers(y) - self.rate * y
'''

DATA = '''
import numpy as np


def blobs(*, noise: float = 0.1, count: int = 120):
    """Three classes of 8x8 images, of three grey levels."""
    random = np.random.default_rng(0)
    labels = np.arange(count) % 3
    pixels = 60 * labels[:, None, None] + 255 * noise * random.random((count, 8, 8))
    half = count // 2
    pixels = pixels.astype(np.uint8)
    return {
        "train_images": pixels[half:],
        "train_labels": labels[half:],
        "test_images": pixels[:half],
        "test_labels": labels[:half],
    }
'''

OWN = {"field.py": FIELD, "data.py": DATA}
ENTRIES = {
    "fields": {"damped": "own_parts.field:Damped"},
    "data": {"blobs": "own_parts.data:blobs"},
}


class Installer:
    """Installs packages into ``site``, for the process of the test."""

    def __init__(self, site: Path) -> None:
        self.site = site
        self.modules: set[str] = set()

    def __call__(
        self,
        package: str = "own-parts",
        version: str = "0.1.0",
        files: Mapping[str, str] = OWN,
        entries: Mapping[str, Mapping[str, str]] = ENTRIES,
    ) -> None:
        """``files``: of the package, by name. ``entries``: entry points, by group and name."""
        module = package.replace("-", "_")
        (self.site / module).mkdir(exist_ok=True)
        for name, text in ({"__init__.py": "", **files} if files else {}).items():
            (self.site / module / name).write_text(text, encoding="utf-8")
        self.remove(package)
        info = self.site / f"{module}-{version}.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        text = "".join(
            f"[node_train.{group}]\n" + "".join(f"{n} = {v}\n" for n, v in named.items())
            for group, named in entries.items()
        )
        (info / "entry_points.txt").write_text(text, encoding="utf-8")
        self.modules.add(module)
        self.unload()
        forget()

    def register(self, folder: Path) -> None:
        """Install the package that lies in a folder, with a pyproject.toml of its own."""
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        name = project["name"]
        shutil.copytree(folder / name, self.site / name)
        groups = project["entry-points"].items()
        entries = {group.removeprefix("node_train."): named for group, named in groups}
        self(name, project["version"], files={}, entries=entries)

    def remove(self, package: str) -> None:
        """Uninstall: its metadata, as far as that is looked at."""
        for info in self.site.glob(f"{package.replace('-', '_')}-*.dist-info"):
            for path in info.iterdir():
                path.unlink()
            info.rmdir()
        forget()

    def close(self) -> None:
        """Forget all that was installed."""
        for group, kind in (("data", "data"), ("regularize", "regulariser")):
            for name in installed(kind):
                ConfigStore.instance().repo[group].pop(f"{name}.yaml", None)
        self.unload()

    def unload(self) -> None:
        """Have the packages imported anew."""
        for name in [n for n in sys.modules if n.partition(".")[0] in self.modules]:
            del sys.modules[name]


Install = Callable[..., None]


def forget() -> None:
    """Look through the installed packages anew."""
    importlib.invalidate_caches()
    registered.cache_clear()
    options_model.cache_clear()
    installed_regularisers._traits.cache_clear()
    arrays._of_package.cache_clear()
