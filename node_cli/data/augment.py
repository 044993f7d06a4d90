"""The batches of a training step: preprocessed, and augmented as ``data.augment`` says."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from node_cli.config.data import ImageData
from node_cli.data.augmentations import AUGMENTATIONS
from node_cli.data.batches import Preprocess
from node_cli.data.images import ImageSet
from node_cli.data.streams import stream


class Augmented:
    """Makes what a training step learns from.

    ``classes``: how many there are, for labels that are mixed. What a batch holds is a function of
    the seed and the step.
    """

    def __init__(self, config: ImageData, seed: int, preprocess: Preprocess, classes: int) -> None:
        self.seed = seed
        self.preprocess = preprocess
        self.classes = classes
        self.of_pixels, self.of_images, self.of_batches = (
            _chosen(config, what) for what in ("pixels", "images", "batches")
        )

    def __call__(self, batch: ImageSet, step: int) -> tuple[Tensor, Tensor]:
        """Images, floating point [N, C, H, W], and labels: int64 [N], or probabilities
        [N, classes] where labels are mixed. ``batch``: on the device."""
        generator = stream(self.seed, "augment", step)
        pixels = batch.pixels
        for augment in self.of_pixels:
            pixels = augment(pixels, generator)
        images = self.preprocess(pixels)
        for augment in self.of_images:
            images = augment(images, generator)
        if not self.of_batches:
            return images, batch.labels
        classes = torch.arange(self.classes, device=batch.labels.device)
        labels = (batch.labels.unsqueeze(1) == classes).to(images.dtype)
        # Of several that mix, each step takes one.
        drawn = int(torch.randint(len(self.of_batches), (), generator=generator))
        mixed: tuple[Tensor, Tensor] = self.of_batches[drawn](images, labels, generator)
        return mixed


def _chosen(config: ImageData, takes: str) -> list[Callable[..., Any]]:
    """The functions of the augmentations that were chosen, their options given."""
    found: list[Callable[..., Any]] = []
    for name, augmentation in AUGMENTATIONS.items():
        if name in config.augment and augmentation.takes == takes:
            module, _, function = augmentation.code.partition(":")
            options = {by: getattr(config, key) for key, by in augmentation.options.items()}
            found.append(partial(getattr(import_module(module), function), **options))
    return found
