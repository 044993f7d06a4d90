"""What the batches of a training hold: a function of the seed and the step, so that any of them can
be made again."""

import torch
from torch import Tensor

from node_cli.config.schema import Config
from node_cli.data.streams import stream
from node_cli.errors import UserError


def batches_per_epoch(config: Config, images: int) -> int:
    """Batches that ``images`` training images make. Raises ``UserError`` where there are none."""
    size = config.batch_size
    batches = images // size if config.data.drop_last else -(-images // size)
    if batches == 0:
        raise UserError(
            f"batch_size={size}: data.drop_last=true leaves nothing of {images} training images"
        )
    return batches


def order_of_epoch(config: Config, images: int, epoch: int) -> Tensor:
    """Which training images the batches of an epoch take, one after the other."""
    order = torch.randperm(images, generator=stream(config.seed, "order", epoch))
    return order[: batches_per_epoch(config, images) * config.batch_size]


def augmentation(config: Config, step: int) -> torch.Generator | None:
    """What the batch of a training step is augmented with, None where it is not."""
    return stream(config.seed, "augment", step) if config.data.augment else None
