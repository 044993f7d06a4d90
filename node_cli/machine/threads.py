"""How many CPU threads torch computes with."""

import math
import os
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from node_cli.config.schema import Config
from node_cli.config.tasks import TASKS
from node_cli.models.blocks import ODEBlock
from node_cli.models.classifier import Classifier
from node_cli.models.describe import shapes_in_core
from node_cli.models.model import Model
from node_cli.models.shape import Shape, output_shape

LEAST_WORK = 10**6
"""Multiply-adds of a layer, for a whole batch, that occupy one thread: see ``suited``."""


def choose(config: Config, model: Model, sample: Shape, kept: int | None) -> int:
    """The number that ``threads`` asks for.

    ``kept``: that of a run which goes on; ``auto`` leaves it as it is, since another number rounds
    sums in another order. ``sample``: the shape of what the model is given, without the batch.
    """
    if config.threads != "auto":
        return config.threads
    if kept is not None:
        return kept
    batch = config.batch_size
    if "batch_size" in TASKS[config.task].unread:
        batch = config.eval.batch_size
    return min(suited(model, sample, batch), usable())


def suited(model: Model, sample: Shape, batch: int) -> int:
    """The largest number of threads that still leaves each about ``LEAST_WORK``.

    What counts is a layer's mean number of multiply-adds for a batch: of the layers of f where an
    ODE is solved, since f is evaluated more often than all else, and of the whole model elsewhere.
    A layer is a weight with two or more dimensions. Takes one evaluation for one sample, of a copy.

    Measured on two cores at batch 128, the ratio of a training step's time with two threads to
    that with one: dense (22 thousand multiply-adds a layer) 1.0, conv_dense (2.8 million) 0.8, mlp
    (15 million) 0.7, conv (170 million) 0.6. Beside another busy process two threads took from 2
    (mlp) to 35 times (dense) as long as one.
    """
    from node_cli.machine.flops import Flops  # a tenth of a second

    if model.ode_blocks:
        state = output_shape(model.stem, sample) if isinstance(model, Classifier) else sample
        modules = [
            (part.field, given)
            for part, given, _ in shapes_in_core(model.core, state)
            if isinstance(part, ODEBlock)
        ]
    else:
        modules = [(nn.Sequential(*model.children()), sample)]
    weights, flops = 0, 0
    for original, shape in modules:
        module = deepcopy(original).eval()  # neither buffers nor the mode of the model change
        parameters = [p for p in module.parameters() if p.ndim >= 2]
        if not parameters:
            continue
        example = parameters[0]
        inputs = [torch.zeros(1, *shape, dtype=example.dtype, device=example.device)]
        if model.ode_blocks:
            inputs.insert(0, inputs[0].new_zeros(()))  # the time
        with torch.no_grad(), Flops() as counted:
            module.forward(*inputs)  # past a compiled __call__
        weights += len(parameters)
        flops += counted.total
    multiply_adds = flops // 2 * batch // max(1, weights)
    return max(1, multiply_adds // LEAST_WORK)


def usable() -> int:
    """The number of threads that this process may occupy: OMP_NUM_THREADS where it is set, else as
    many as it has cores, by its affinity and by the quota of its control group."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # of nested regions
    if first.isdecimal() and int(first) > 0:
        return int(first)
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # Linux
        cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, *_quotas()))


def _quotas(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> list[int]:
    """Cores that each control group (version 2) around this process grants, parts of one rounded
    up; at least one number."""
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    found = [2**31]
    for group in (root / path, *(root / path).parents):
        try:
            quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
            found.append(math.ceil(int(quota) / int(period)))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return found
