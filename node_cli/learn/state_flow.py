"""How the states of test images move inside the ODE, and what each class costs."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from node_cli.data.batches import Preprocess
from node_cli.data.images import ImageSet
from node_cli.learn.state_paths import block_states
from node_cli.machine.compiler import uncompiled
from node_cli.machine.device import Backend
from node_cli.models.blocks import ODEBlock
from node_cli.models.classifier import Classifier

INTERVALS = 20  # at most
MOST_IMAGES = 200
MOST_NUMBERS = 2**24  # of all states together; fewer images where a state is large

MOST_CLASSES = 100
MOST_OF_CLASSES = 500  # images of all classes together, but 10 of each

ROUNDS = 30  # of the iteration that finds principal components


@torch.no_grad()
def flow(
    model: Classifier, images: ImageSet, preprocess: Preprocess, backend: Backend
) -> Iterator[dict[str, Any]]:
    """Yield the rows of flow.csv, none without an ODE. Of the classes the same number of images,
    the first ones of each, at most ``MOST_IMAGES`` in all; of the blocks those that ``continued``
    returns.

    The solver lands on the times that are shown: see ``state_paths.paths``. Cost: one solve of a
    batch of these images. Raises ``SolveFailed``.
    """
    if not model.ode_blocks:
        return
    classes = len(images.labels.unique())
    chosen = _first_of_each(images.labels, max(1, MOST_IMAGES // classes))[:MOST_IMAGES]
    given = {"intervals": INTERVALS, "blocks": len(continued(model))}
    one = block_states(model, images.pixels[chosen[:1]], preprocess, backend, **given)
    most = max(1, MOST_NUMBERS // sum(states.numel() for _, states in one))
    some = images[chosen[:: -(-len(chosen) // most)]]
    found = block_states(model, some.pixels, preprocess, backend, **given)
    times, states = (torch.cat(parts) for parts in zip(*found, strict=True))
    shown = torch.linspace(0, len(times) - 1, min(len(times), INTERVALS + 1)).round().long()
    times, plane = times[shown], in_two(states[shown.to(states.device)].flatten(2).double().cpu())
    for i, label in enumerate(some.labels.tolist()):
        for t, (y0, y1) in zip(times.tolist(), plane[:, i].tolist(), strict=True):
            yield {"image": i, "label": label, "t": t, "y0": y0, "y1": y1}


def continued(model: Classifier) -> list[ODEBlock]:
    """Return the first ODE block and those that go on where the one before has ended: of
    ``model.weights_in_t``, all of them."""
    first, *others = model.ode_blocks
    blocks = [first]
    for block in others:
        if block.t0 != blocks[-1].t1 or (block.t1 - block.t0) * (first.t1 - first.t0) < 0:
            break
        blocks.append(block)
    return blocks


def in_two(states: Tensor) -> Tensor:
    """Return two coordinates of states [T, N, D], as [T, N, 2]: for D = 2 their own, for D = 1 also
    a 0, else the first two principal components of all of them. The largest weight of a component
    is positive."""
    dimensions = states.shape[2]
    if dimensions <= 2:
        return torch.nn.functional.pad(states, (0, 2 - dimensions))
    rows = states.flatten(0, 1)
    rows = rows - rows.mean(0)
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(dimensions, min(8, dimensions), generator=generator, dtype=rows.dtype)
    for _ in range(ROUNDS):  # subspace iteration: a singular value decomposition may be large
        basis, _ = torch.linalg.qr(rows.T @ (rows @ basis))
    _, _, within = torch.linalg.svd(rows @ basis, full_matrices=False)
    components = basis @ within[:2].T
    largest = components.gather(0, components.abs().argmax(0, keepdim=True))
    projected: Tensor = rows @ (components * largest.sign())
    return projected.view(*states.shape[:2], 2)


@torch.no_grad()
def classes(
    model: Classifier, images: ImageSet, preprocess: Preprocess, backend: Backend
) -> Iterator[dict[str, Any]]:
    """Yield the rows of classes.csv, for the first ``MOST_CLASSES`` classes.

    Cost: a forward pass for a batch of each class. Raises ``SolveFailed``.
    """
    training = model.training
    model.eval()
    labels = images.labels.unique()[:MOST_CLASSES].tolist()
    size = max(10, MOST_OF_CLASSES // len(labels))
    for label in labels:
        alike = images[(images.labels == label).nonzero()[:size, 0]]
        with backend.autocast(), uncompiled(model):
            answers = model(preprocess(alike.pixels.to(backend.device))).argmax(1)
        work = model.take_work()
        yield {
            "label": label,
            "images": len(alike),
            "accuracy": (answers == label).double().mean().item(),
            "nfe_forward": None if work is None else work.nfe_forward,
        }
    model.train(training)


def _first_of_each(labels: Tensor, size: int) -> Tensor:
    """Indices of the first ``size`` of each class, one class after the other."""
    kinds = labels.unique().tolist()
    return torch.cat([(labels == kind).nonzero()[:size, 0] for kind in kinds])
