"""The first steps of a training, made for what they take, and forgotten."""

import time
from itertools import chain, count
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast

from node_cli.config.data import Downloaded
from node_cli.config.schema import Config
from node_cli.config.tasks import TASKS
from node_cli.display import Display
from node_cli.errors import UserError
from node_cli.learn.evaluation import Diverged
from node_cli.learn.loop import Trainer
from node_cli.machine import memory
from node_cli.ode.failures import SolveFailed, Unsuitable
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.run import task_class
from node_cli.tasks.setup import Setup
from node_cli.tasks.steps import steps_of
from node_cli.tasks.task import OverModel

WARM_UP, MEASURED = 2, 5  # steps


class Rehearsed(NamedTuple):
    """``steps``: of the whole training. ``step_seconds``: of one, the median of ``measured``; None
    where the data is not there. ``memory_mib``: what a step holds at its peak, None where that is
    not known; ``held_mib``: what weights, optimizer and data hold all the time."""

    steps: int
    step_seconds: float | None = None
    measured: int = 0
    memory_mib: float | None = None
    held_mib: float = 0.0


def rehearse(
    config: Config, folder: Path, display: Display
) -> Rehearsed | SolveFailed | Diverged | Unsuitable | None:
    """Show the header of a run and measure the first steps of its training.

    Nothing is written. Returns None for a task that trains nothing, and the failure of one of the
    steps. Raises ``UserError`` where the run could not begin.
    """
    if not TASKS[config.task].reads_data:
        task = cast(OverModel, task_class(config.task)(config, RunFolder(folder)))
        task.show_header(display)
        return None
    steps = steps_of(config)
    try:
        setup = Setup(_without_download(config))
    except UserError:
        if not isinstance(config.data, Downloaded) or not config.data.download or steps is None:
            raise
        return Rehearsed(steps)
    setup.show_header(display, RunFolder(folder))
    if steps is None:
        return None
    try:
        return _measured(config, setup, folder, steps)
    except (SolveFailed, Diverged, Unsuitable) as error:
        return error


def _without_download(config: Config) -> Config:
    if not isinstance(config.data, Downloaded):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"download": False})})


def _measured(config: Config, setup: Setup, folder: Path, steps: int) -> Rehearsed:
    trainer: Trainer[Any] = Trainer(config, setup.objective, setup.backend, RunFolder(folder))
    batches = chain.from_iterable(setup.objective.batches(epoch, 0) for epoch in count())
    numbers = count()
    setup.model.train()

    def step() -> None:
        trainer.update(next(batches), next(numbers))

    for _ in range(WARM_UP):
        step()
    seconds = []
    for _ in range(MEASURED):
        start = time.perf_counter()
        step()  # waits for the device, whose numbers it reads
        seconds.append(time.perf_counter() - start)
    device = setup.backend.device
    is_counted = device.type == "cuda" or (device.type == "cpu" and not setup.model.is_compiled)
    extra = memory.extra_mib(step, device) if is_counted else None
    return Rehearsed(steps, median(seconds), MEASURED, extra, _held(trainer, setup))


def _held(trainer: Trainer[Any], setup: Setup) -> float:
    """MiB of weights and buffers, of what the optimizer keeps, and of images."""
    states = trainer.update.optimizer.state.values()
    tensors = [
        *setup.model.parameters(),
        *setup.model.buffers(),
        *(x for state in states for x in state.values() if hasattr(x, "nbytes")),
    ]
    images = getattr(setup.objective, "images", {}).values()
    tensors += [x for split in images for x in (split.pixels, split.labels)]
    return float(sum(x.nbytes for x in tensors) / 2**20)
