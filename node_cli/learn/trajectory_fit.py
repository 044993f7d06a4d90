"""Learning the field behind a trajectory from windows of its noisy points."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from node_cli.config.schema import Config
from node_cli.data import trajectories
from node_cli.data.trajectories import START, Window
from node_cli.learn.evaluation import (
    Diverged,
    Metrics,
    skips,
    told_of_evaluation,
    without_budget,
)
from node_cli.learn.observer import Further, Seen, unseen
from node_cli.learn.regularisation import Regularisation
from node_cli.learn.update import Outcome, gradient_norm
from node_cli.machine.device import Backend
from node_cli.machine.ranks import ALONE, Ranks
from node_cli.models import flow
from node_cli.models.flow import Flow
from node_cli.ode.failures import SolveFailed
from node_cli.ode.transfer import sent
from node_cli.ode.work import Work
from node_cli.records.columns import OBSERVED, TRAJECTORIES, Record
from node_cli.records.files import write_csv
from node_cli.records.run_folder import RunFolder

STATE = (len(START),)


class TrajectoryFit:
    """The ``Objective`` of a trajectory. The loss is the mean squared error over times and
    coordinates.

    A training step solves from the first point of a window, noise included, and compares with the
    other points. The split ``test`` is the whole trajectory without noise, compared with the
    learned one from the true start; an evaluation also records the learned one.
    """

    units = "points"
    further: Sequence[Record] = (TRAJECTORIES,)
    sample = STATE
    inputs = None

    def __init__(self, config: Config, model: Flow, backend: Backend, ranks: Ranks = ALONE) -> None:
        assert not ranks.several, "refused: a step is one solve"
        self.config = config
        self.model = model
        self.backend = backend
        self.data = trajectories.load(config.trajectory, config.seed)
        self.splits = dict.fromkeys(("train", "test"), len(self.data.times))
        self.batches_per_epoch = config.trajectory.windows
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.regularisation = Regularisation(config, model, config.epochs * self.batches_per_epoch)

    @staticmethod
    def check(config: Config) -> None:
        pass

    @staticmethod
    def build(config: Config) -> Flow:
        return flow.build(config, STATE, config.trajectory.end)

    def batches(self, epoch: int, done: int) -> Iterator[Window]:
        config, first = self.config, epoch * self.batches_per_epoch
        for step in range(first + done, first + self.batches_per_epoch):
            yield trajectories.window(self.data, config.trajectory, config.seed, step)

    def gradient(self, batch: Window, step: int) -> Outcome:
        with self.backend.autocast(), self.regularisation.of_step(step) as penalties:
            loss = self.loss(self.model, batch)
        penalties.added_to(loss).backward()
        grad_norm = gradient_norm(self.parameters)
        work = self.model.take_work()
        values = (work or Work()).read(loss, grad_norm, *penalties.numbers(loss.dtype))
        cells = penalties.cells(values[0], values[2:], work)
        return Outcome(values[0], values[1], None, work, penalties=cells)

    def loss(self, model: nn.Module, batch: Window) -> Tensor:
        example = next(model.parameters())
        states = sent(batch.states.to(example.dtype), example.device)
        return mse_loss(model(states[0], batch.times), states)

    @torch.no_grad()
    def evaluate(self, step: int, seen: Seen = unseen) -> tuple[dict[str, Metrics], Further]:
        times, states = self.data.times, self.data.states
        training = self.model.training
        self.model.eval()
        try:
            start = states[:1].to(next(self.model.parameters()))
            with (
                told_of_evaluation("test", step),
                without_budget(self.config, self.model),
                self.backend.autocast(),
            ):
                learned = self.model(start, times)[:, 0].cpu().double()
        except SolveFailed:
            if not skips(self.config):
                raise
            self.model.take_work()
            points = len(times)
            nothing = Metrics(points, 0, loss=None, accuracy=None, nfe=None, unsolved=points)
            return {"test": nothing}, {TRAJECTORIES: []}
        finally:
            self.model.train(training)
        work = self.model.take_work()
        # In float64, since squares of a solution that grows far from the data overflow float32.
        loss = float(mse_loss(learned, states))
        if not math.isfinite(loss):
            raise Diverged(f"step {step}: test loss {loss:g}")
        rows = [
            {"step": step, "t": t, "y0": y0, "y1": y1}
            for t, (y0, y1) in zip(times.tolist(), learned.tolist(), strict=True)
        ]
        nfe = work.nfe_forward if work else None
        metrics = Metrics(len(times), batches=1, loss=loss, accuracy=None, nfe=nfe)
        return {"test": metrics}, {TRAJECTORIES: rows}

    def begin(self, folder: RunFolder) -> None:
        points = zip(self.data.times.tolist(), self.data.observed.tolist(), strict=True)
        rows = ({"t": t, "y0": y0, "y1": y1} for t, (y0, y1) in points)
        write_csv(folder.observed, OBSERVED.columns, rows)

    def finish(self, folder: RunFolder, seen: Seen = unseen) -> None:
        pass

    def data_in_words(self) -> str:
        data = self.config.trajectory
        return (
            f"{len(self.data.times):,} points on [0, {data.end:g}], noise {data.noise:g}, "
            f"{self.batches_per_epoch} windows an epoch"
        )

    def batch_in_words(self, batch: Window) -> str:
        first, last = batch.times[[0, -1]].tolist()
        span = f"{len(batch.times)} points on [{first:.4g}, {last:.4g}]"
        return f"window that a training takes, {span}"
