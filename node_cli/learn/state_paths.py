"""How the state moves inside an ODE block, for an image of each class."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from node_cli.data.batches import Preprocess
from node_cli.data.images import ImageSet
from node_cli.machine.device import Backend
from node_cli.models.blocks import ODEBlock
from node_cli.models.classifier import Classifier
from node_cli.ode.work import Work

INTERVALS = 40  # with an adaptive solver; a fixed-step one shows its own steps
COORDINATES = 4


@torch.no_grad()
def paths(
    model: Classifier, images: ImageSet, preprocess: Preprocess, backend: Backend
) -> Iterator[dict[str, Any]]:
    """Yield the rows of paths.csv, none without an ODE.

    They follow the coordinates of the state that move most, for the first image of each class. An
    adaptive solver lands on the times that are shown, so its steps are not those of training, and
    the path agrees within the tolerance. Cost: one solve for a batch of one image per class. Raises
    ``SolveFailed``.
    """
    block = model.core
    if not isinstance(block, ODEBlock):
        return
    labels = images.labels.unique()
    first = torch.stack([(images.labels == label).nonzero()[0, 0] for label in labels])
    solver, intervals = replace(block.solver, max_nfe=None, first_step=None), INTERVALS
    if solver.step_size is not None or solver.n_steps is not None:
        intervals = solver.steps_in(block.t1 - block.t0)
        solver = replace(solver, step_size=None, n_steps=1)
    t = torch.linspace(block.t0, block.t1, intervals + 1, dtype=torch.float64)
    training = model.training
    model.eval()
    with backend.autocast(), block.uncompiled():
        y0 = model.stem(preprocess(images.pixels[first])).to(backend.dtype)
        states = block.sensitivity(block.field, y0, t, solver, Work()).flatten(2)
    model.train(training)
    moved = (states[-1] - states[0]).abs().mean(0)
    for coordinate in moved.topk(min(COORDINATES, len(moved))).indices.tolist():
        for i, label in enumerate(labels.tolist()):
            for time, value in zip(t.tolist(), states[:, i, coordinate].tolist(), strict=True):
                yield {"coordinate": coordinate, "label": label, "t": time, "y": value}
