"""From a run folder or a checkpoint to a model that classifies images."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from node_cli.config.check import checked, without_training
from node_cli.config.data import ImageData
from node_cli.config.schema import Config
from node_cli.config.section import absolute
from node_cli.data import sources
from node_cli.data.batches import Preprocess
from node_cli.data.inputs import Inputs, inputs_of
from node_cli.errors import UserError
from node_cli.learn.norm_statistics import is_per_time, statistics_for_evaluation
from node_cli.machine.device import Backend
from node_cli.models import classifier
from node_cli.models.classifier import Classifier
from node_cli.records import checkpoints
from node_cli.records.average_schema import check_trained, trained_weights
from node_cli.records.checkpoint_schema import DoesNotFit
from node_cli.trained.model import TrainedModel

CPU = torch.device("cpu")


def load(location: str | Path, device: str | torch.device = "cpu") -> TrainedModel:
    """The classifier of a run.

    Args:
        location: a run folder (its best.pt, else last.pt) or a checkpoint.
        device: where the model is to be.

    No code is run from a checkpoint. What a checkpoint of an older version does not say, the mean
    of the images and the names of the classes, is taken from the data set, and so are the
    statistics of BatchNorm inside f (``eval.batch_norm=per_time``), which no checkpoint has: for
    these the data has to be there.

    Raises ``UserError`` where the checkpoint cannot be read, is one of a trajectory, or needs data
    that is not there.
    """
    path = checkpoints.find(absolute(str(location)))
    checkpoint = checkpoints.load(path)
    config, _ = checked(without_training(checkpoint["config"]))
    return _built(path, checkpoint, config, torch.device(device))


def of_config(config: Config, device: torch.device = CPU) -> TrainedModel:
    """The classifier of ``config.checkpoint``, solved as the configuration says. Raises
    ``UserError``, as ``load``."""
    assert config.checkpoint is not None
    path = checkpoints.find(config.checkpoint)
    return _built(path, checkpoints.load(path), config, device)


def _built(
    path: Path, checkpoint: dict[str, Any], config: Config, device: torch.device
) -> TrainedModel:
    if not isinstance(config.data, ImageData):
        raise UserError(f"checkpoint={path}: fits a trajectory, it does not classify images")
    inputs = _inputs(path, checkpoint, config.data, config)
    config = _without_compiling(config)
    with torch.random.fork_rng(devices=[]):
        model = classifier.build(config, tuple(inputs.shape), len(inputs.names))
    try:
        check_trained(checkpoint, model.state_dict())
    except DoesNotFit as error:
        raise UserError(f"checkpoint={path}: does not fit the model ({error})") from error
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    model.load_state_dict(trained_weights(checkpoint))
    model = model.to(device, dtype).eval()
    for start, size in zip(model.warm_starts(), checkpoint["first_steps"], strict=False):
        start.size = size
    trained = TrainedModel(config, model, inputs)
    if is_per_time(config, model):
        backend = Backend(device, config.precision, dtype)
        trained.keep(_statistics(path, config, model, inputs, backend))
    return trained


def _inputs(path: Path, checkpoint: dict[str, Any], data: ImageData, config: Config) -> Inputs:
    if (found := checkpoint.get("inputs")) is not None:
        return Inputs(**found)
    try:
        known = sources.facts(data)
        if known.mean is not None or not data.normalize:
            return inputs_of(data, known, None)
        return inputs_of(data, known, sources.load(data, config.seed)["train"])
    except UserError as error:
        raise UserError(
            f"checkpoint={path}: of an older version, it does not have the mean of the training "
            f"images, and they are not there ({error.problems[0]})"
        ) from error


def _without_compiling(config: Config) -> Config:
    sensitivity = config.sensitivity
    if sensitivity is not None:
        sensitivity = sensitivity.model_copy(update={"vjp": "autograd"})
    return config.model_copy(update={"compile": False, "sensitivity": sensitivity})


def _statistics(
    path: Path, config: Config, model: Classifier, inputs: Inputs, backend: Backend
) -> AbstractContextManager[None]:
    """Within it the BatchNorms inside f have the statistics of an evaluation."""
    try:
        train = sources.load(config.image_data, config.seed)["train"]
    except UserError as error:
        raise UserError(
            f"checkpoint={path}: BatchNorm inside f takes its statistics from the training images, "
            f"and they are not there ({error.problems[0]})"
        ) from error
    preprocess = Preprocess(backend.dtype, backend.device, inputs.mean, inputs.std)
    return statistics_for_evaluation(config, model, train, preprocess, backend, skip=False)
