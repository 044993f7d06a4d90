"""The fixed steps that may stand in for a solver whose solve is no graph, and what they cost."""

from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.config.schema import Config
from node_cli.data import sources
from node_cli.errors import UserError
from node_cli.ode.failures import SolveFailed
from node_cli.ode.solver import Solver
from node_cli.trained.model import TrainedModel

METHOD = "rk4"
STEPS = (1, 2, 4, 8, 16, 32)
CLOSE_ENOUGH = 1e-3
"""Of a probability: the fewest steps are taken that come as close."""

MOST_IMAGES = 256


@dataclass(frozen=True)
class Instead:
    """``difference``: the largest one of a probability, over these images."""

    solver: Solver
    difference: float
    images: str

    def __str__(self) -> str:
        return (
            f"solver={self.solver.name} solver.n_steps={self.solver.n_steps}: its probabilities "
            f"differ by at most {self.difference:.1e} on {self.images}"
        )


@torch.no_grad()
def instead_of(model: TrainedModel, config: Config) -> Instead:
    """Measured on test images where they are there, else on noise. The model keeps its solver.

    Cost: up to ``len(STEPS)`` passes over at most ``MOST_IMAGES`` images. Raises ``SolveFailed``
    where the model's own solver fails, or all of these.
    """
    images, words = _images(model, config)
    expected = model(images)
    blocks = model.classifier.ode_blocks
    own = [block.solver for block in blocks]
    best: Instead | None = None
    try:
        for count in STEPS:
            solver = Solver(METHOD, n_steps=count)
            for block in blocks:
                block.solver = solver
            try:
                difference = float((model(images) - expected).abs().max())
            except SolveFailed:
                if count == STEPS[-1] and best is None:
                    raise
                continue
            if best is None or difference < best.difference:
                best = Instead(solver, difference, words)
            if difference <= CLOSE_ENOUGH:
                break
    finally:
        for block, solver in zip(blocks, own, strict=True):
            block.solver = solver
    assert best is not None
    return best


def _images(model: TrainedModel, config: Config) -> tuple[Tensor, str]:
    try:
        pixels = sources.load(config.image_data, config.seed)["test"].pixels[:MOST_IMAGES]
        return pixels, f"{len(pixels)} test images"
    except UserError:  # they are not there
        generator = torch.Generator().manual_seed(0)
        size = (MOST_IMAGES, *model.shape)
        noise = torch.randint(256, size, dtype=torch.uint8, generator=generator)
        return noise, f"{MOST_IMAGES} images of noise (the test images are not there)"
