"""The task profile: where the time and the memory of a training step go."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import Tensor

from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.learn.loop import Trainer
from node_cli.learn.observer import Observers, TrainingFacts
from node_cli.learn.update import Outcome
from node_cli.machine.flops import Flops
from node_cli.machine.memory import Peaks
from node_cli.models.blocks import ODEBlock
from node_cli.ode.work import Work
from node_cli.records.columns import PROFILE
from node_cli.records.files import write_csv
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.bare_f import BareCost, bare_cost
from node_cli.tasks.csv_files import CsvFiles
from node_cli.tasks.profile_table import (
    LEGEND,
    SHOWN,
    Row,
    Seconds,
    cells_of,
    line,
    middle,
    rows_of_parts,
    sums,
    usual,
)
from node_cli.tasks.setup import Setup, load_for_evaluation
from node_cli.tasks.step_parts import Parts, Place, watched
from node_cli.tasks.task import End

WARM_UP = 3  # steps
LEAST_STEPS, LEAST_SECONDS = 12, 2.0  # with a look at their parts, and as many without


class WatchedStep(NamedTuple):
    """A step, its parts, and the states that its ODE blocks began with."""

    parts: Parts[Any]
    outcome: Outcome
    states: dict[ODEBlock, Tensor]


class Profile:
    """Makes training steps, as a training does, and looks at their parts; then as many without.

    The weights move, and are not kept; the records go into a folder that is deleted. There is no
    score. Cost: seconds, or some 40 steps.
    """

    def __init__(self, config: Config, folder: RunFolder) -> None:
        self.config = config
        self.folder = folder
        self.setup = setup = Setup(config)
        self.checkpoint: Path | None = None
        if config.checkpoint is not None:
            self.checkpoint, self.progress = load_for_evaluation(config.checkpoint, setup.model)
        self.trainer: Trainer[Any] = Trainer(config, setup.objective, setup.backend, folder)
        self.device = setup.backend.device
        self.batches = self._batches()

    def run(self, display: Display) -> End:
        """Measure, show and record. Raises ``SolveFailed`` and ``Diverged``."""
        setup = self.setup
        setup.show_header(display, self.folder)
        if self.checkpoint is not None:
            display.line(f"{self.checkpoint}, after {self.progress.step:,} steps\n")
        with self._observers(display) as observers:
            setup.model.train()
            for _ in range(WARM_UP):
                self._step(observers)
            steps, plain, last = self._times(observers)
            memory, flops = self._memory(observers), self._flops(observers)
        rows = rows_of_parts(usual(steps), memory, flops, last.parts)
        step = mean(middle(plain, float))
        total = sum(row["seconds"] for row in rows)
        for row in rows:
            row["share"] = row["seconds"] / total
        rows += sums(rows, total, step)
        write_csv(self.folder.profile, PROFILE.columns, rows)
        self._show(display, rows)
        costs = [bare_cost(block, y, setup.backend) for block, y in last.states.items()]
        solves = _solves(rows, last.outcome, costs) if costs else None
        if solves:
            display.line(_solves_in_words(solves))
        if setup.model.ode_blocks and _is_one_part(self.config):
            display.line(
                "VJPs: part of the solver's backward pass, which autograd makes through torchdiffeq"
            )
        self.folder.write_result(
            {
                "task": "profile",
                **setup.facts(),
                "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
                "steps": len(steps),
                "step_seconds": step,
                "solves": solves,
                "parts": rows,
            }
        )
        return End(None)

    def _batches(self) -> Iterator[Any]:
        """Batches of one size, that of the first, epoch after epoch."""
        size = None
        for epoch in count():
            for batch in self.setup.objective.batches(epoch, 0):
                size = len(batch) if size is None else size
                if len(batch) == size or self.setup.objective.units != "images":
                    yield batch

    @contextmanager
    def _observers(self, display: Display) -> Iterator[Observers]:
        """Those that write the records, on the disk of the run folder."""
        with TemporaryDirectory(dir=self.folder.path, prefix=".") as scratch:
            files = CsvFiles(self.config, RunFolder(Path(scratch)), display)
            observers = Observers({"files": files})
            objective = self.setup.objective
            observers.start(TrainingFacts(0, objective.batches_per_epoch, objective.further))
            try:
                yield observers
            finally:
                observers.end()

    def _step(self, observers: Observers) -> Outcome:
        while (outcome := self.trainer.step(next(self.batches), observers)) is None:
            pass  # its solve failed, and is skipped, as the checkpoint says
        return outcome

    def _watched_step(self, observers: Observers, parts: Parts[Any]) -> WatchedStep:
        trainer = self.trainer
        with watched(trainer.model, trainer.update.optimizer, parts) as states:
            parts.enter("data")
            outcome = self._step(observers)
            parts.leave()
        return WatchedStep(parts, outcome, states)

    def _times(self, observers: Observers) -> tuple[list[Seconds], list[float], WatchedStep]:
        """The seconds of each place, step by step; those of whole steps that were not looked at;
        and the last step that was."""
        steps: list[Seconds] = []
        plain: list[float] = []
        while len(steps) < LEAST_STEPS or sum(plain) < LEAST_SECONDS:
            self._wait()
            start = time.perf_counter()
            self._step(observers)
            self._wait()
            plain.append(time.perf_counter() - start)
            last = self._watched_step(observers, Parts(self._clock()))
            self._wait()
            steps.append(_added(last.parts, self._between))
        return steps, plain, last

    def _memory(self, observers: Observers) -> dict[str, float]:
        """The peak memory of each part."""
        found: dict[str, float] = {}
        with Peaks(self.device) as peaks:
            parts = Parts(peaks.take)
            self._watched_step(observers, parts)
        for place, _, peak in parts.spans():
            if peak is not None:
                found[place.part] = max(found.get(place.part, 0.0), peak)
        return found

    def _flops(self, observers: Observers) -> dict[str, float]:
        """The operations of each part."""
        found: dict[str, float] = {}
        with Flops() as counter:
            parts = Parts(lambda: counter.total)
            self._watched_step(observers, parts)
        for place, start, end in parts.spans():
            found[place.part] = found.get(place.part, 0) + end - start
        return found

    def _clock(self) -> Callable[[], Any]:
        """On CUDA an event, which the device marks when it comes to it; else the time."""
        if self.device.type != "cuda":
            return time.perf_counter

        def event() -> torch.cuda.Event:
            made = torch.cuda.Event(enable_timing=True)
            made.record()
            return made

        return event

    def _between(self, start: Any, end: Any) -> float:
        """Seconds between two readings of the clock."""
        return float(start.elapsed_time(end) / 1000 if self.device.type == "cuda" else end - start)

    def _wait(self) -> None:
        """Wait until the device has done all that it was told to."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def _show(self, display: Display, rows: list[Row]) -> None:
        display.line(line({name: name for name in SHOWN}))
        for row in rows:
            display.line(line(cells_of(row)))
        display.line(f"\n{LEGEND}")
        if self.device.type == "cpu":
            display.line("On a CPU memory is that of tensors, without the work space of kernels.")
        if self.device.type == "mps":
            display.line("Memory: mps does not tell its peak.")
        added, step = rows[-2]["seconds"], rows[-1]["seconds"]
        display.line(
            f"\nA step takes {1000 * step:.2f} ms; its parts sum up to {1000 * added:.2f} ms "
            f"({added / step - 1:+.1%}: the cost of looking, and noise)."
        )


def _is_one_part(config: Config) -> bool:
    """Whether autograd goes through the solver itself."""
    solver, sensitivity = config.solver, config.sensitivity
    of_torchdiffeq = solver is not None and solver.solver().engine == "torchdiffeq"
    return of_torchdiffeq and sensitivity is not None and sensitivity.name == "discrete"


def _solves(rows: list[Row], outcome: Outcome, costs: list[BareCost]) -> dict[str, float | int]:
    """What the solves take beside their evaluations of f alone."""
    assert outcome.work is not None
    works = outcome.work.of_blocks or [outcome.work]
    seconds = sum(row["seconds"] for row in rows if row["part"] in ("f", "VJPs", "solver"))
    bare = sum(_bare(work, cost) for work, cost in zip(works, costs, strict=True))
    return {
        "seconds": seconds,
        "bare_seconds": bare,
        "overhead": seconds / bare,
        "evaluations": outcome.work.nfe_forward + outcome.work.nfe_backward,
        "vjps": outcome.work.vjps_backward,
        "seconds_f": mean(cost.evaluation for cost in costs),
        "seconds_vjp": mean(cost.product for cost in costs),
    }


def _bare(work: Work, cost: BareCost) -> float:
    evaluations = work.nfe_forward + work.nfe_backward
    return evaluations * cost.evaluation + work.vjps_backward * cost.product


def _added(parts: Parts[Any], between: Callable[[Any, Any], float]) -> Seconds:
    found: dict[Place, float] = {}
    for place, start, end in parts.spans():
        found[place] = found.get(place, 0.0) + between(start, end)
    return found


def _solves_in_words(solves: Mapping[str, float | int]) -> str:
    ms = {name: f"{1000 * solves[name]:.3g} ms" for name in solves if "seconds" in name}
    return (
        f"The solves take {ms['seconds']}. Alone, by autograd, their {solves['evaluations']} "
        f"evaluations of f and {solves['vjps']} VJPs would take {ms['bare_seconds']} (one "
        f"{ms['seconds_f']} and {ms['seconds_vjp']}): {solves['overhead']:.2f} times that."
    )
