"""What a classifier answers for every image of a set, to be compared with other answers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from node_cli.config.schema import Config
from node_cli.data.batches import Preprocess, in_batches
from node_cli.data.images import ImageSet
from node_cli.learn.norm_statistics import statistics_for_evaluation
from node_cli.machine import compiler
from node_cli.machine.device import Backend
from node_cli.models.classifier import Classifier


@dataclass(frozen=True)
class Answers:
    """``logits``: [N, classes], float64 on the CPU. ``right``: [N], whether the largest of them is
    the one of the image's class. ``nfe_mean``: evaluations of f per batch."""

    logits: Tensor
    right: Tensor
    nfe_mean: float

    @property
    def accuracy(self) -> float:
        """The fraction of images classified correctly."""
        return float(self.right.double().mean())

    @property
    def predictions(self) -> Tensor:
        """The class of the largest logit, [N]."""
        return self.logits.argmax(1)


@torch.no_grad()
def answers(
    config: Config,
    model: Classifier,
    images: ImageSet,
    train: ImageSet,
    preprocess: Preprocess,
    backend: Backend,
    *,
    seen: Callable[[int, int], object] = lambda done, images: None,
) -> Answers:
    """Return what a model with an ODE answers in evaluation mode, without augmentation.

    ``train``: the training images, for the statistics of BatchNorm inside f. ``seen``: is told
    before each batch how many images are done, of all. Cost: one forward pass for each batch of
    ``eval.batch_size`` images. Raises ``SolveFailed``.
    """
    size, logits, nfe = config.eval.batch_size, [], 0
    training = model.training
    model.take_work()
    try:
        with statistics_for_evaluation(config, model, train, preprocess, backend, skip=False):
            model.eval()
            for number, batch in enumerate(in_batches(images, size, backend.device)):
                seen(number * size, len(images))
                with backend.autocast(), compiler.for_batch(model, len(batch), size):
                    logits.append(model(preprocess(batch.pixels)).cpu().double())
                work = model.take_work()
                nfe += work.nfe_forward if work else 0
    finally:
        model.train(training)
        model.take_work()
    found = torch.cat(logits)
    right = found.argmax(1) == images.labels.cpu()
    return Answers(found, right, nfe / len(logits))
