"""What every task needs: data, model and device as configured, and a header that shows them."""

from typing import Any

import torch

import node_cli
from node_cli.config.schema import Config
from node_cli.data import sources
from node_cli.data.batches import Preprocess
from node_cli.errors import check_all
from node_cli.models.classifier import build
from node_cli.models.describe import describe, parameter_count
from node_cli.run import checkpoints, compiler, device
from node_cli.run.batches import batches_per_epoch
from node_cli.run.display import Display
from node_cli.run.environment import environment
from node_cli.run.records import RunFolder


def preflight(config: Config) -> None:
    """Raise ``UserError`` for all that can be known without reading data: whether the device is
    there, the parts of the model fit, the data files exist, every split has images. Takes a moment,
    so that no job of a sweep starts in vain."""

    def parts() -> None:
        source = sources.find(config.data.name)
        model = build(config, source.shape, source.classes)
        if config.task != "train" and config.checkpoint is not None:
            checkpoints.load_for_evaluation(config.checkpoint, model)

    def images() -> None:
        left = sources.check(config.data)
        if config.task != "eval":
            batches_per_epoch(config, left)

    check_all(lambda: device.choose(config), parts, images)


class Setup:
    """Loads the data and builds the model; raises ``UserError`` where either cannot be had."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.backend = device.choose(config)
        device.activate(self.backend, deterministic=config.deterministic)
        source = sources.find(config.data.name)
        self.splits = {
            name: images.to(self.backend.device)
            for name, images in sources.load(config.data, config.seed).items()
        }
        self.preprocess = Preprocess(
            self.backend.dtype,
            self.backend.device,
            source.mean if config.data.normalize else None,
            source.std if config.data.normalize else None,
            source.flips,
        )
        self.image = source.shape
        torch.manual_seed(config.seed)
        self.model = build(config, source.shape, source.classes).to(
            self.backend.device, self.backend.dtype
        )

        if config.compile:
            compiler.compile_model(self.model, self.backend)

    def facts(self) -> dict[str, Any]:
        """What result.json says about the setting."""
        config = self.config
        solver = config.forward_solver() if config.solver else None
        return {
            "seed": config.seed,
            "precision": config.precision,
            "model": config.model.name,
            "parameters": parameter_count(self.model),
            "images": {name: len(images) for name, images in self.splits.items()},
            "solver": str(solver) if solver else None,
            "engine": solver.engine if solver else None,
            "sensitivity": config.sensitivity.name if config.sensitivity else None,
            "environment": environment(self.backend),
        }

    def show_header(self, display: Display, folder: RunFolder) -> None:
        config = self.config
        parts = list(describe(self.model, self.image))
        width = max(len(str([*shape])) for _, _, shape in parts)
        count = parameter_count(self.model)
        splits = " / ".join(f"{len(images):,} {name}" for name, images in self.splits.items())
        display.facts(
            {
                "node-train": f"{node_cli.__version__}, task {config.task}",
                "model": f"{config.model.name}, {count:,} parameters, init {config.model.init}",
                **{f"  {name}": f"{[*shape]!s:<{width}}  {words}" for name, words, shape in parts},
                "data": f"{config.data.name}, {[*self.image]}, {splits}",
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
