"""GFLOP/s of convolutional training steps, and of their layers, over those of a matrix product.

    python benchmarks/convolution.py

*Steps*: whole training steps of ``model=conv`` (MNIST where ``--root`` has it, batch 128, dopri5,
tol 1e-3), solver, optimizer and records included. *Layers*: the convolutions of that model alone,
contiguous and channels_last. Floating-point operations are those of convolutions and matrix
products, as torch counts them. After each measurement a product of two 2048 x 2048 matrices is
timed in the same process; the ratio is that of the two rates, median and range over the rounds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn

from node_cli.machine.flops import Flops
from speed.contenders import Task
from speed.ours import Ours
from speed.task import BATCH, prepare

SIDE = 2048
STEPS = {
    "defaults": [],
    "`compile=true`": ["compile=true"],
    "`solver.first_step=warm`": ["solver.first_step=warm"],
}
# Channels in and out, size of kernel, stride, padding, size of image.
LAYERS = {
    "stem, 1 to 64, 3x3, 28x28": (1, 64, 3, 1, 0, 28),
    "stem, 64 to 64, 4x4 by 2, 26x26": (64, 64, 4, 2, 1, 26),
    "stem, 64 to 64, 4x4 by 2, 13x13": (64, 64, 4, 2, 1, 13),
    "f, 64 to 64, 3x3, 6x6": (64, 64, 3, 1, 1, 6),
    "f with time, 65 to 64, 3x3, 6x6": (65, 64, 3, 1, 1, 6),
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", default="data", help="folder that holds MNIST")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads, {arguments.rounds} rounds")
    print("\n| | GFLOP | ms | GFLOP/s | over those of the product |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="convolution_") as scratch:
        task = Task("conv", 1e-3, 0, "cpu", Path(scratch) / "batches.npz")
        prepare(arguments.root, task.seed, task.data)
        operations = step_operations(Ours(task, []))
        for name, overrides in STEPS.items():
            ours = Ours(task, overrides)
            # A warm start saves evaluations, which are no operations of a faster kind.
            count = step_operations(ours) if "first_step" in name else operations
            show(f"step, {name}", count, partial(ours.step, 0), arguments.rounds)
    for name, shape in LAYERS.items():
        for layout in LAYOUTS:
            forward, backward, count = layer(shape, layout)
            show(f"{name}, {layout}, forward", count, forward, arguments.rounds)
            show(f"{name}, {layout}, backward", 2 * count, backward, arguments.rounds)


def step_operations(ours: Ours) -> int:
    """Those of a step after the first ones, which a warm start needs."""
    for index in range(3):
        ours.step(index)
    with Flops() as counted:
        ours.step(3)
    return int(counted.total)


def layer(
    shape: tuple[int, ...], layout: str
) -> tuple[Callable[[], object], Callable[[], object], int]:
    """A convolution forward, backward for input and weights, and the operations of the former."""
    channels, out, kernel, stride, padding, size = shape
    conv = nn.Conv2d(channels, out, kernel, stride, padding).to(memory_format=LAYOUTS[layout])
    x = torch.randn(BATCH, channels, size, size).to(memory_format=LAYOUTS[layout]).requires_grad_()
    with Flops() as counted:
        y = conv(x)
    given = torch.randn_like(y)
    inputs = (x, *conv.parameters())
    return (
        lambda: conv(x),
        lambda: torch.autograd.grad(y, inputs, given, retain_graph=True),
        counted.total,
    )


def show(name: str, operations: int, work: Callable[[], object], rounds: int) -> None:
    """Time it beside the product, and print its row."""
    a, b = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    work()
    seconds, ratios = [], []
    for _ in range(rounds):
        seconds.append(timed(work))
        product = 2 * SIDE**3 / timed(lambda: a @ b)
        ratios.append(operations / seconds[-1] / product)
    median = statistics.median(seconds)
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
    cells = [f"{operations / 1e9:.2f}", f"{1e3 * median:.2f}", f"{operations / 1e9 / median:.0f}"]
    print(f"| {name} | {' | '.join(cells)} | {spread} |", flush=True)


def timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
