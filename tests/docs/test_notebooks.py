"""The notebooks of the documentation run from the first cell to the last."""

import json
import shlex
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

from tests.commands import NodeTrain
from tests.docs import pages

NOTEBOOKS = sorted(pages.REPOSITORY.glob("docs/*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=pages.name)
def test_a_notebook_runs(
    path: Path, node_train: NodeTrain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells of Python share their names; a line that begins with ! is a command."""
    monkeypatch.setattr("node_cli.cli.jobs.plot_run", lambda _: None)
    notebook, names = json.loads(path.read_text(encoding="utf-8")), dict[str, Any]()
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == [], "kept small"
        text = "".join(cell["source"])
        if text.startswith("!"):
            program, *arguments = shlex.split(text[1:])
            assert program == "node-train"
            result = node_train(*arguments)
            assert result.code == 0, result.err
        else:
            exec(compile(text, path.name, "exec"), names)
    plt.close("all")


def test_there_is_one() -> None:
    assert NOTEBOOKS
