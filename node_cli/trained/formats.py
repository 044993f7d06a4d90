"""The formats that a trained model can be exported in. Free of torch.

To add one: a function that writes it, a row here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from node_cli.errors import UserError


@dataclass(frozen=True)
class Format:
    """``meaning``: one line, for help. ``file``: the name of what is written. ``implementation``:
    ``"module:function"``, see ``writer``. ``packages``: that it needs beside ours. ``is_graph``:
    whether it has the computation, so that the solver has to be one that can be unrolled."""

    meaning: str
    file: str
    implementation: str
    packages: Sequence[str] = ()
    is_graph: bool = True

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]

    def writer(self) -> Callable[[Any, Path], Callable[[Any], Any]]:
        """Writes a ``TrainedModel`` to a path; returns what the file answers, a function from
        images [N, C, H, W] in [0, 1] to probabilities [N, classes]."""
        module, _, name = self.implementation.partition(":")
        found: Callable[[Any, Path], Callable[[Any], Any]] = getattr(import_module(module), name)
        return found


_WRITERS = "node_cli.trained.writers"


def check_installed(name: str) -> None:
    """Raise ``UserError`` where a format needs packages that are not there."""
    if missing := FORMATS[name].missing:
        others = [other for other, row in FORMATS.items() if not row.missing]
        raise UserError(
            f"format={name}: needs {', '.join(missing)}: pip install 'node-train[export]'; "
            f"without them: {', '.join(others)}"
        )


# By the name that ``format=`` knows.
FORMATS: dict[str, Format] = {
    "safetensors": Format(
        meaning="the weights, with the configuration as metadata; any solver",
        file="model.safetensors",
        implementation=f"{_WRITERS}:safetensors",
        is_graph=False,
    ),
    "torch_export": Format(
        meaning="a program of torch.export, for Python and C++ without node-train",
        file="model.pt2",
        implementation=f"{_WRITERS}:torch_export",
    ),
    "onnx": Format(
        meaning="an ONNX model, for ONNX Runtime and others",
        file="model.onnx",
        implementation=f"{_WRITERS}:onnx",
        packages=("onnx", "onnxscript", "onnxruntime"),
    ),
}
