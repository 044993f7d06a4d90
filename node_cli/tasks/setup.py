"""What every task needs: data, model and device as configured, and a header that shows them."""

from typing import Any

import torch

import node_cli
from node_cli.config.schema import Config
from node_cli.errors import check_all
from node_cli.learn.classification import Classification
from node_cli.learn.objective import Objective
from node_cli.learn.trajectory_fit import TrajectoryFit
from node_cli.machine import compiler, device, threads
from node_cli.machine.environment import environment
from node_cli.models.describe import describe, parameter_count
from node_cli.records import checkpoints
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.progress_display import Display


def objective_of(config: Config) -> type[Objective[Any]]:
    """The kind of learning that the data is for."""
    return TrajectoryFit if config.data.is_trajectory else Classification


def preflight(config: Config) -> None:
    """Raise ``UserError`` for all that can be known without reading data: whether the device is
    there, the parts of the model fit, the data files exist, every split has images. Takes a moment,
    so that no job of a sweep starts in vain."""

    objective = objective_of(config)

    def parts() -> None:
        model = objective.build(config)
        if config.task != "train" and config.checkpoint is not None:
            checkpoints.load_for_evaluation(config.checkpoint, model)

    check_all(lambda: device.choose(config), parts, lambda: objective.check(config))


class Setup:
    """Loads the data and builds the model; raises ``UserError`` where either cannot be had.

    ``kept_threads``: the number of threads of a run that goes on.
    """

    def __init__(self, config: Config, kept_threads: int | None = None) -> None:
        self.config = config
        self.backend = device.choose(config)
        device.activate(self.backend, deterministic=config.deterministic)
        kind = objective_of(config)
        torch.manual_seed(config.seed)
        self.model = kind.build(config).to(self.backend.device, self.backend.dtype)
        if config.compile:
            compiler.compile_model(self.model, self.backend)
        self.objective: Objective[Any] = kind(config, self.model, self.backend)
        sample = self.objective.sample
        torch.set_num_threads(threads.choose(config, self.model, sample, kept_threads))

    def facts(self) -> dict[str, Any]:
        """What result.json says about the setting."""
        config = self.config
        solver = config.forward_solver() if config.solver else None
        return {
            "seed": config.seed,
            "precision": config.precision,
            "model": config.model.name,
            "parameters": parameter_count(self.model),
            self.objective.units: {**self.objective.splits},
            "solver": str(solver) if solver else None,
            "engine": solver.engine if solver else None,
            "sensitivity": config.sensitivity.name if config.sensitivity else None,
            "environment": environment(self.backend),
        }

    def show_header(self, display: Display, folder: RunFolder) -> None:
        config = self.config
        parts = list(describe(self.model, self.objective.sample))
        width = max(len(str([*shape])) for _, _, shape in parts)
        count = parameter_count(self.model)
        display.facts(
            {
                "node-train": f"{node_cli.__version__}, task {config.task}",
                "model": f"{config.model.name}, {count:,} parameters, init {config.model.init}",
                **{f"  {name}": f"{[*shape]!s:<{width}}  {words}" for name, words, shape in parts},
                "data": f"{config.data.name}, {self.objective.data_in_words()}",
                "solver": self._solver(),
                "sensitivity": self._sensitivity(),
                "device": str(self.backend) + self._compiled(),
                "seed": str(config.seed),
                "folder": str(folder.path),
            }
        )
        display.line()

    def _compiled(self) -> str:
        return ", compiled in the first step, which takes a while" if self.model.is_compiled else ""

    def _solver(self) -> str:
        if self.config.solver is None:
            return "none"
        solver = self.config.forward_solver()
        order = f", order {solver.method.order}" if solver.method.order else ""
        return f"{solver}{order}, engine {solver.engine}"

    def _sensitivity(self) -> str:
        sensitivity = self.config.sensitivity
        if sensitivity is None:
            return "none"
        if self.config.task == "check_gradients":
            return f"every method, backwards {self.config.backward_solver()}"
        if sensitivity.name in ("discrete", "checkpointed"):
            return sensitivity.name
        norm = f"{sensitivity.norm} norm, " if sensitivity.norm else ""
        return f"{sensitivity.name}, {norm}backwards {self.config.backward_solver()}"
