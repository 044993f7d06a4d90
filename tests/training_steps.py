"""Training steps one at a time, and how often the host waits for a device in one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from node_cli.config.schema import Config
from node_cli.learn.loop import Trainer
from node_cli.learn.update import Outcome
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.setup import Setup

METHODS = ["discrete", "checkpointed", "backsolve", "interpolating", "gauss"]

# Waits in a training step of the default run (dense, dopri5, tol 1e-3), all of them for numbers
# that come from the device: one of the records; in an adaptive solve one for each attempt, whose
# error decides what follows, and one for the size of a first step that has to be found. Forward
# there are two attempts, backward two (backsolve) or one, whose size is known then.
WAITS = {
    "sensitivity=discrete": 4,
    "sensitivity=checkpointed": 4,
    "sensitivity=backsolve": 7,
    "sensitivity=interpolating": 5,
    "sensitivity=gauss": 5,
    "solver=dopri8 sensitivity=gauss": 5,
    "solver=rk4 solver.n_steps=4": 2,  # is the state finite?
    "solver.first_step=warm": 2,
    "data.augment=[crop,flip,randaugment,erasing,mixup]": 4,
    "data.augment=[cutmix]": 4,
    "optimizer.grad_clip=0.1": 4,
    "train.accumulate=2 model.core=none": 1,  # one for the step, however many groups
    "model.core=residual model.blocks=2": 1,
    "model.core=plain": 1,
    "model.core=none": 1,
}


def training_step(config: Config) -> Callable[[], Outcome]:
    """A function that makes the next training step of a run, its batch included."""
    setup = Setup(config)
    trainer: Trainer[Any] = Trainer(config, setup.objective, setup.backend, RunFolder(Path()))
    batches = setup.objective.batches(0, 0)
    setup.model.train()
    steps = iter(range(1000))
    return lambda: trainer.update(next(batches), next(steps))
