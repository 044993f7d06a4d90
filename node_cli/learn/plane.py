"""What a model makes of the plane, where its data are points: its answers and its vector field."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from node_cli.data.batches import Preprocess
from node_cli.data.catalog import PLANE
from node_cli.data.images import ImageSet
from node_cli.learn.state_flow import continued
from node_cli.learn.state_paths import block_states
from node_cli.machine.compiler import uncompiled
from node_cli.machine.device import Backend
from node_cli.models.classifier import Classifier

ANSWERS = 81  # in each direction of the grid of boundary.csv
ARROWS = 21  # and of vector_field.csv
TIMES = 7
MOST_POINTS = 500
MARGIN = 0.15  # around the points, as a fraction of their extent


def points(test: ImageSet) -> Iterator[dict[str, Any]]:
    """Yield the rows of points.csv."""
    some = test[:MOST_POINTS]
    places = some.pixels.reshape(-1, 2).double().cpu() / 255
    for (x0, x1), label in zip(places.tolist(), some.labels.tolist(), strict=True):
        yield {"x0": x0, "x1": x1, "label": label}


@torch.no_grad()
def boundary(
    model: Classifier, test: ImageSet, preprocess: Preprocess, backend: Backend
) -> Iterator[dict[str, Any]]:
    """Yield the rows of boundary.csv, on a grid about the points. Cost: a forward pass for a batch
    of ``ANSWERS`` squared points. Raises ``SolveFailed``."""
    training = model.training
    model.eval()
    grid = _grid(test.pixels.reshape(-1, 2) / 255, ANSWERS)
    pixels = (255 * grid).reshape(-1, *PLANE).float()
    with backend.autocast(), uncompiled(model):
        answers = model(preprocess(pixels.to(backend.device))).double().softmax(1)[:, 1]
    model.take_work()
    model.train(training)
    for (x0, x1), probability in zip(grid.tolist(), answers.tolist(), strict=True):
        yield {"x0": x0, "x1": x1, "probability": probability}


@torch.no_grad()
def vector_field(
    model: Classifier, test: ImageSet, preprocess: Preprocess, backend: Backend
) -> Iterator[dict[str, Any]]:
    """Yield the rows of vector_field.csv, on a grid about the states of the points inside the ODE
    (see ``state_flow.continued``), at ``TIMES`` times of its interval; none where its state has
    another dimension than 2. Cost: a solve for a batch of all points, an evaluation of f for each
    time. Raises ``SolveFailed``."""
    blocks = continued(model)
    found = block_states(model, test.pixels, preprocess, backend, intervals=8, blocks=len(blocks))
    states = torch.cat([states for _, states in found])
    if states.shape[2:] != (2,):
        return
    training = model.training
    model.eval()
    grid = _grid(states.reshape(-1, 2), ARROWS)
    y = grid.to(backend.device, backend.dtype)
    for k, t in enumerate(torch.linspace(blocks[0].t0, blocks[-1].t1, TIMES).tolist()):
        block = blocks[min(k * len(blocks) // (TIMES - 1), len(blocks) - 1)]
        with backend.autocast(), uncompiled(model):
            dy = block.field(y.new_tensor(t), y)
        for (y0, y1), (dy0, dy1) in zip(grid.tolist(), dy.double().tolist(), strict=True):
            yield {"t": t, "y0": y0, "y1": y1, "dy0": dy0, "dy1": dy1}
    model.train(training)


def _grid(points: Tensor, size: int) -> Tensor:
    """A grid of ``size`` times ``size`` points, [size * size, 2], a little wider than points
    [N, 2]; the second coordinate changes first."""
    low, high = points.amin(0).double().cpu(), points.amax(0).double().cpu()
    room = MARGIN * (high - low)
    axes = [
        torch.linspace(float(a), float(b), size, dtype=torch.float64)
        for a, b in zip(low - room, high + room, strict=True)
    ]
    return torch.cartesian_prod(*axes)
