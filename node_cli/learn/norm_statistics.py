"""BatchNorm inside f: an evaluation of the network that was trained, and a word where it is not."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from node_cli.config.schema import Config
from node_cli.data.batches import Preprocess, in_batches
from node_cli.data.images import ImageSet
from node_cli.data.streams import stream
from node_cli.errors import complain
from node_cli.machine.device import Backend
from node_cli.models.batch_norm import norms_inside, statistics_per_time
from node_cli.models.classifier import Classifier
from node_cli.ode.failures import SolveFailed

MOST_BATCHES = 16
"""Batches of training images that the statistics are computed over."""

LARGE_GAP = 0.1
"""From here on the evaluated network is said to be another one than the trained one."""


def is_per_time(config: Config, model: Classifier) -> bool:
    """Whether an evaluation computes the statistics anew."""
    return bool(norms_inside(model)) and config.eval.batch_norm != "running"


@contextmanager
def statistics_for_evaluation(
    config: Config,
    model: Classifier,
    train: ImageSet,
    preprocess: Preprocess,
    backend: Backend,
    *,
    skip: bool,
) -> Iterator[None]:
    """Within it BatchNorm has the statistics that ``eval.batch_norm`` asks for.

    ``train``: the training images. ``skip``: leave out a batch whose solve fails. Cost of
    ``per_time``: a forward pass of at most ``MOST_BATCHES`` batches. Raises ``SolveFailed``.
    """
    if not is_per_time(config, model):
        yield
        return
    with statistics_per_time(model) as collecting:
        with collecting(), torch.no_grad():
            for batch in batches_for_statistics(config, train, backend.device):
                try:
                    with backend.autocast():
                        model(preprocess(batch.pixels))
                except SolveFailed:
                    if not skip:
                        raise
                model.take_work()
        yield


def batches_for_statistics(
    config: Config, train: ImageSet, device: torch.device
) -> Iterator[ImageSet]:
    """Training images, without augmentation, in full batches of a training step; the same ones in
    every evaluation, drawn from a stream of their own. All images where there is no full batch."""
    size = min(config.batch_size, len(train))
    count = min(len(train) // size, MOST_BATCHES)
    drawn = torch.randperm(len(train), generator=stream(config.seed, "statistics"))
    return in_batches(train, size, device, drawn[: count * size])


@torch.no_grad()
def warn_of_gap(
    config: Config,
    model: Classifier,
    train: ImageSet,
    preprocess: Preprocess,
    backend: Backend,
) -> None:
    """Print a warning where the same training images are classified much worse with the statistics
    of an evaluation than with those of the batch, as in training. To be called within
    ``statistics_for_evaluation``. Cost: two forward passes of one batch; none without BatchNorm
    inside f."""
    if not norms_inside(model):
        return
    batch = next(batches_for_statistics(config, train, backend.device))

    def accuracy() -> float:
        with backend.autocast():
            right = model(preprocess(batch.pixels)).argmax(1) == batch.labels
        return float(right.float().mean())

    try:
        training = model.training
        model.eval()
        evaluated = accuracy()
        with statistics_per_time(model) as collecting, collecting():
            trained = accuracy()
    except SolveFailed:
        return
    finally:
        model.train(training)
        model.take_work()
    if trained - evaluated > LARGE_GAP:
        complain(
            f"warning: BatchNorm inside f: of {len(batch)} training images the network classifies "
            f"{trained:.1%} correctly with the statistics of the batch, as in training, and "
            f"{evaluated:.1%} with those of the evaluation; see eval.batch_norm"
        )
