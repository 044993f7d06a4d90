"""A toy of each kind that docs/extending.md tells how to add, put into a copy of the package."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torchvision.datasets import MNIST


@dataclass
class Copy:
    """A copy of the package, and the files that were changed in it for each addition."""

    root: Path
    changed: dict[str, set[str]] = field(default_factory=dict)

    def add_file(self, what: str, path: str, text: str) -> None:
        assert not (self.root / path).exists()
        (self.root / path).write_text(text, encoding="utf-8")
        self.changed.setdefault(what, set()).add(path)

    def edit(self, what: str, path: str, anchor: str, *, before: str = "", after: str = "") -> None:
        """Put text before or after the only place where ``anchor`` stands."""
        file = self.root / path
        content = file.read_text(encoding="utf-8")
        assert content.count(anchor) == 1, f"{path}: {content.count(anchor)} times {anchor!r}"
        file.write_text(content.replace(anchor, before + anchor + after), encoding="utf-8")
        self.changed.setdefault(what, set()).add(path)

    def node_train(self, *arguments: str) -> str:
        """Run the copy's command; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "node_cli", *arguments],
            cwd=self.root,
            env=os.environ | {"PYTHONPATH": str(self.root), "CI": "true"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def solver(package: Copy) -> None:
    package.edit(
        "solver",
        "node_cli/ode/tableaus.py",
        "# By the name that ``solver=`` knows.\n",
        before=(
            "# A. Ralston, Math. Comp. 16 (1962).\n"
            "RALSTON = Tableau(order=2, c=(0.0, 2 / 3), a=((), (2 / 3,)), b=(1 / 4, 3 / 4))\n\n"
        ),
    )
    package.edit(
        "solver", "node_cli/ode/tableaus.py", '    "euler": EULER,\n', after='    "toy": RALSTON,\n'
    )
    package.add_file(
        "solver",
        "conf/solver/toy.yaml",
        "# Ralston's method, order 2.\ndefaults:\n  - _fixed\n  - _self_\nname: toy\n",
    )


def gradient_method(package: Copy) -> None:
    package.add_file(
        "gradient method",
        "node_cli/ode/sensitivity/toy.py",
        '"""A toy: the gradient of the steps, from their states."""\n\n'
        "from node_cli.ode.sensitivity.discrete import OfSteps\n\n\n"
        "class Toy(OfSteps):\n"
        '    name = "toy"\n',
    )
    package.edit(
        "gradient method",
        "node_cli/ode/sensitivity/methods.py",
        '    "backsolve": Traits(\n',
        before=(
            '    "toy": Traits(\n'
            '        meaning="a toy",\n'
            '        implementation="node_cli.ode.sensitivity.toy:Toy",\n'
            '        gradient_of="steps",\n'
            '        keeps="states",\n'
            "        solves_backwards=False,\n"
            '        engines=("native",),\n'
            '        memory="one state per accepted step",\n'
            '        cost="the stages once more",\n'
            '        large_error="it is a toy",\n'
            "    ),\n"
        ),
    )
    package.add_file(
        "gradient method",
        "conf/sensitivity/toy.yaml",
        "# A toy.\nname: toy\nvjp: autograd # autograd (define by run) | compiled\n",
    )


def field_f(package: Copy) -> None:
    path = "node_cli/models/fields.py"
    package.edit(
        "field",
        path,
        "FIELDS: dict[str, Part] = {\n",
        before=(
            "class Toy(nn.Module):\n"
            '    """-y + tanh(W y), for a vector."""\n\n'
            "    def __init__(self, state: Shape) -> None:\n"
            "        super().__init__()\n"
            "        (width,) = state\n"
            "        self.linear = nn.Linear(width, width)\n\n"
            "    def forward(self, t: Tensor, y: Tensor) -> Tensor:\n"
            "        return self.linear(y).tanh() - y\n\n\n"
        ),
        after='    "toy": Part(Toy, takes="vector"),\n',
    )


def data_set(package: Copy) -> None:
    package.edit(
        "data set",
        "node_cli/data/catalog.py",
        "IMAGES = {\n",
        after='    "toy": Images([0.5], [0.3], 60, "MNIST", "MNIST"),\n',
    )
    package.add_file(
        "data set",
        "conf/data/toy.yaml",
        "# 60 training images.\ndefaults:\n  - _torchvision\n  - _self_\nname: toy\n",
    )
    raw = package.root / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    for part, count in (("train", 60), ("t10k", 20)):
        pixels = torch.randint(256, (count, 28, 28), dtype=torch.uint8, generator=generator)
        labels = (torch.arange(count) % 10).to(torch.uint8)
        for name, values in (("images-idx3", pixels), ("labels-idx1", labels)):
            header = (2048 + values.ndim).to_bytes(4, "big")
            header += b"".join(n.to_bytes(4, "big") for n in values.shape)
            (raw / f"{part}-{name}-ubyte").write_bytes(header + values.numpy().tobytes())
    assert len(MNIST(package.root / "data", train=True)) == 60


def measure(package: Copy) -> None:
    package.edit(
        "measure",
        "node_cli/records/measures.py",
        '    Measure("seconds", SECONDS, "time of the step"),\n',
        after='    Measure("toy", NUMBER, "twice the loss"),\n',
    )
    package.edit(
        "measure",
        "node_cli/learn/classification.py",
        "        return self.gradient_of(*self.augmented(batch, step), step)",
        before="        found = self.gradient_of(*self.augmented(batch, step), step)\n"
        "        given = found.loss, found.grad_norm, found.correct, found.work\n"
        '        return Outcome(*given, {"toy": 2 * found.loss}, found.penalties)\n',
    )


def observer(package: Copy) -> None:
    package.add_file(
        "observer",
        "node_cli/tasks/toy_observer.py",
        '"""Counts the steps into a file."""\n\n\n'
        "class Toy:\n"
        "    required = False\n\n"
        "    def __init__(self, config, folder, display):\n"
        "        self.folder, self.steps = folder, 0\n\n"
        "    def start(self, facts): ...\n\n"
        "    def step(self, progress, row):\n"
        "        self.steps += 1\n\n"
        "    def evaluation(self, rows, further): ...\n\n"
        "    def epoch(self, row): ...\n\n"
        "    def checkpoint(self): ...\n\n"
        "    def end(self):\n"
        '        (self.folder.path / "toy.txt").write_text(str(self.steps))\n',
    )
    path = "node_cli/tasks/observers.py"
    package.edit(
        "observer",
        path,
        "from node_cli.tasks.terminal import Terminal\n",
        after="from node_cli.tasks.toy_observer import Toy\n",
    )
    package.edit("observer", path, '    "terminal": Terminal,\n', after='    "toy": Toy,\n')


def optimizer(package: Copy) -> None:
    path = "node_cli/config/optimizer.py"
    package.edit(
        "optimizer",
        path,
        "OptimizerConfig = Annotated[Adam",
        before=(
            "class Toy(Optimizer):\n"
            '    """Adagrad."""\n\n'
            '    chosen_by: ClassVar = {"name": ["toy"]}\n'
            '    class_name: ClassVar = "Adagrad"\n\n\n'
        ),
        after=" | Toy",
    )
    package.add_file(
        "optimizer",
        "conf/optimizer/toy.yaml",
        "# Adagrad.\nname: toy\nlr: 1e-2\nweight_decay: 0.0\ngrad_clip: null\n",
    )


def regulariser(package: Copy) -> None:
    package.add_file(
        "regulariser",
        "node_cli/regularisers/toy.py",
        '"""A toy."""\n\n'
        "from node_cli.regularisers.regulariser import OfPath\n\n\n"
        "class Toy(OfPath):\n"
        '    """The length of the paths."""\n\n'
        "    def integrand(self, y, generator):\n"
        "        return lambda f, t, y, dy: dy.abs().mean()\n",
    )
    package.edit(
        "regulariser",
        "node_cli/regularisers/table.py",
        "REGULARISERS: dict[str, Traits] = {\n",
        after=(
            '    "toy": Traits(\n'
            '        "a toy",\n'
            '        implementation=f"{_PACKAGE}.toy:Toy",\n'
            "        options=Weighted,\n"
            '        source="none",\n'
            '        cost="none",\n'
            "    ),\n"
        ),
    )
    package.add_file(
        "regulariser",
        "conf/regularize/toy.yaml",
        "# @package regularize.toy\n# A toy.\nname: toy\nweight: 1.0\nfinal_weight: null\n",
    )


ADDITIONS = (solver, gradient_method, field_f, data_set, measure, observer, optimizer, regulariser)
