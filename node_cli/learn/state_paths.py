"""How the state moves inside the ODE blocks, for an image of each class."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from node_cli.data.batches import Preprocess
from node_cli.data.images import ImageSet
from node_cli.machine.compiler import uncompiled
from node_cli.machine.device import Backend
from node_cli.models.blocks import Chain, ODEBlock
from node_cli.models.classifier import Classifier
from node_cli.ode.work import Work

INTERVALS = 40  # with an adaptive solver; a fixed-step one shows its own steps
COORDINATES = 4
MOST_CLASSES = 10


@torch.no_grad()
def paths(
    model: Classifier, images: ImageSet, preprocess: Preprocess, backend: Backend
) -> Iterator[dict[str, Any]]:
    """Yield the rows of paths.csv, none without an ODE.

    They follow the coordinates of the state that move most in a block, for the first image of each
    of the first ``MOST_CLASSES`` classes. An adaptive solver lands on the times that are shown, so
    its steps are not those of training, and the path agrees within the tolerance. Cost: one solve
    of each block for a batch of one image per class. Raises ``SolveFailed``.
    """
    if not model.ode_blocks:
        return
    labels = images.labels.unique()[:MOST_CLASSES]
    first = torch.stack([(images.labels == label).nonzero()[0, 0] for label in labels])
    found = block_states(model, images.pixels[first], preprocess, backend, intervals=INTERVALS)
    for block, (times, all_states) in enumerate(found, start=1):
        states = all_states.flatten(2)
        moved = (states[-1] - states[0]).abs().mean(0)
        for coordinate in moved.topk(min(COORDINATES, len(moved))).indices.tolist():
            for i, label in enumerate(labels.tolist()):
                values = states[:, i, coordinate].tolist()
                for time, value in zip(times.tolist(), values, strict=True):
                    row = {"coordinate": coordinate, "label": label, "t": time, "y": value}
                    yield row | {"block": block}


@torch.no_grad()
def block_states(
    model: Classifier,
    pixels: Tensor,
    preprocess: Preprocess,
    backend: Backend,
    *,
    intervals: int,
    blocks: int | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """Return, for the first ``blocks`` ODE blocks (None: for all), times [T] and the states there,
    [T, N, *state].

    ``pixels``: [N, C, H, W], not preprocessed. ``intervals``: between the times, all of the same
    length; a solver with fixed steps has its own. Raises ``SolveFailed``.
    """
    training = model.training
    model.eval()
    found: list[tuple[Tensor, Tensor]] = []
    with backend.autocast(), uncompiled(model):
        y = model.stem(preprocess(pixels.to(backend.device)))
        for part in model.core if isinstance(model.core, Chain) else (model.core,):
            if len(found) == blocks:
                break
            if isinstance(part, ODEBlock):
                found.append(_solved(part, y.to(backend.dtype), intervals))
                y = found[-1][1][-1]
            else:
                y = part(y)
    model.train(training)
    return found


def _solved(block: ODEBlock, y0: Tensor, intervals: int) -> tuple[Tensor, Tensor]:
    """Times, and the states of a block there, with its first step chosen anew."""
    solver = replace(block.solver, max_nfe=None, first_step=None)
    if solver.step_size is not None or solver.n_steps is not None:
        intervals = solver.steps_in(block.t1 - block.t0)
        solver = replace(solver, step_size=None, n_steps=1)
    t = torch.linspace(block.t0, block.t1, intervals + 1, dtype=torch.float64)
    return t, block.sensitivity(block.field, y0, t, solver, Work())
