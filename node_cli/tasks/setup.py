"""What every task needs: data, model and device as configured, and a header that shows them."""

from pathlib import Path
from typing import Any

import torch

import node_cli
from node_cli.config.data import TrajectoryData
from node_cli.config.messages import plain
from node_cli.config.schema import Config
from node_cli.config.section import Section
from node_cli.config.tasks import TASKS
from node_cli.display import Display
from node_cli.errors import UserError, check_all, complain
from node_cli.learn.classification import Classification
from node_cli.learn.objective import Objective
from node_cli.learn.trajectory_fit import TrajectoryFit
from node_cli.machine import compiler, device, threads
from node_cli.machine.environment import environment
from node_cli.machine.ranks import ALONE, Ranks, here
from node_cli.models.batch_norm import norms_inside
from node_cli.models.blocks import ODEBlock
from node_cli.models.describe import describe, parameter_count
from node_cli.models.model import Model
from node_cli.records import checkpoints
from node_cli.records.average_schema import check_trained, trained_weights
from node_cli.records.checkpoint_schema import DoesNotFit
from node_cli.records.progress import Progress
from node_cli.records.run_folder import RunFolder
from node_cli.regularisers.installed import traits_of
from node_cli.tasks import compiling, observers
from node_cli.tasks.initial_weights import InitialWeights
from node_cli.tasks.together import check_processes
from node_cli.trained.formats import check_installed
from node_cli.trained.loading import of_config


def objective_of(config: Config) -> type[Objective[Any]]:
    """Return the class of what is learned from the data."""
    return TrajectoryFit if isinstance(config.data, TrajectoryData) else Classification


def preflight(config: Config) -> None:
    """Raise ``UserError`` for everything that is wrong with a job and shows without reading data:
    whether the device is there, the parts of the model fit, the data files exist, every split has
    images, the observers are there. Cost: building the model."""

    if not TASKS[config.task].reads_data:
        check_processes(config, here())
        if config.format is not None:
            check_installed(config.format)

        def trained() -> None:
            _check_batch_norm(config, of_config(config).classifier)

        check_all(lambda: device.choose(config), trained)
        return
    objective = objective_of(config)

    def parts() -> None:
        model = objective.build(config)
        if config.checkpoint is not None and "checkpoint" not in TASKS[config.task].unread:
            load_for_evaluation(config.checkpoint, model)
        _check_batch_norm(config, model)
        if config.init_from is not None:
            InitialWeights.read(config.init_from, model, strict=config.init_from_strict)

    def watching() -> None:
        for name in config.observers:
            observers.kind_of(name)

    check_all(
        lambda: check_processes(config, here()),
        lambda: device.choose(config),
        parts,
        lambda: objective.check(config),
        watching,
    )


def _check_batch_norm(config: Config, model: Model) -> None:
    """Whether what depends on BatchNorm inside f fits the model."""
    inside = bool(norms_inside(model))
    if config.eval.batch_norm is not None and not inside:
        raise UserError(
            f"eval.batch_norm={config.eval.batch_norm}: not used, f has no BatchNorm inside"
        )
    traits = {name: traits_of(name) for name in config.regularize}
    for name, known in traits.items():
        if inside and known is not None and known.forward_mode:
            raise UserError(
                f"regularize=[{name}]: not with BatchNorm inside f (model.field="
                f"{config.model.field}), which torch cannot differentiate in forward mode; choose "
                "another field, or another regulariser"
            )


def load_for_evaluation(location: str, model: Model) -> tuple[Path, Progress]:
    """Load the trained weights of a checkpoint into a model; return its file and how far they were
    trained.

    ``location``: a file or a run folder. Raises ``UserError`` where it cannot be read, and where
    the weights are those of another model.
    """
    path = checkpoints.find(location)
    checkpoint = checkpoints.load(path)
    try:
        check_trained(checkpoint, model.state_dict())
    except DoesNotFit as error:
        raise UserError(f"checkpoint={path}: does not fit the model ({error})") from error
    model.load_state_dict(trained_weights(checkpoint))
    for start, size in zip(model.warm_starts(), checkpoint["first_steps"], strict=False):
        start.size = size
    return path, Progress.from_state_dict(checkpoint["progress"])


class Setup:
    """Device, model and data of a run."""

    def __init__(
        self,
        config: Config,
        kept_threads: int | None = None,
        kept_compiled: bool | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        """Load the data and build the model. ``kept_threads``, ``kept_compiled``: the number of
        threads of a run that goes on, and whether it is compiled. ``ranks``: the processes that it
        is trained by. Raises ``UserError`` where data or model cannot be had."""
        self.config = config
        self.ranks = ranks
        with ranks.together():
            self.backend = device.choose(config, notice=complain)
        ranks.check_same("device", self.backend.device.type)
        device.activate(self.backend, deterministic=config.deterministic)
        kind = objective_of(config)
        torch.manual_seed(config.seed)
        self.model = kind.build(config).to(self.backend.device, self.backend.dtype)
        if compiling.choose(config, self.backend, kept_compiled):
            asked = f"compile={plain(config.compile)}"
            compiler.compile_model(self.model, self.backend, asked)
        self.objective: Objective[Any] = ranks.one_first(
            lambda: kind(config, self.model, self.backend, ranks)
        )
        sample = self.objective.sample
        torch.set_num_threads(threads.choose(config, self.model, sample, kept_threads))

    def facts(self) -> dict[str, Any]:
        """Return what result.json says about the setting."""
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
            "compiled": self.model.is_compiled,
            **({"processes": self.ranks.size} if self.ranks.several else {}),
            "environment": environment(self.backend, config.packages),
        }

    def show_header(self, display: Display, folder: RunFolder) -> None:
        """Print what the run consists of."""
        config = self.config
        parts = list(describe(self.model, self.objective.sample))
        width = max(len(str([*shape])) for _, _, shape in parts)
        count = parameter_count(self.model)
        display.news(
            {
                "node-train": f"{node_cli.__version__}, task {config.task}",
                "model": f"{config.model.name}, {count:,} parameters, init {config.model.init}",
                **{f"  {name}": f"{[*shape]!s:<{width}}  {words}" for name, words, shape in parts},
                "data": f"{config.data.name}, {self.objective.data_in_words()}",
                "solver": self._solver(),
                "sensitivity": self._sensitivity(),
                **self._training(),
                "device": str(self.backend) + self._compiled(),
                **self._processes(),
                "seed": str(config.seed),
                "folder": str(folder.path),
            }
        )
        display.line()

    def _training(self) -> dict[str, str]:
        """How the weights are updated; nothing where they are not."""
        config = self.config
        if not TASKS[config.task].trains:
            return {}
        augment = getattr(config.data, "augment", [])
        augmented = f", augmented by {' '.join(augment)}" * bool(augment)
        epochs = f"{config.epochs} epoch{'s' * (config.epochs > 1)}"
        steps = f"{self.objective.batches_per_epoch:,} steps, batch size {config.batch_size}"
        penalties = ", ".join(map(_chosen, config.regularize.values()))
        smoothing = config.train.label_smoothing
        smoothed = f", label smoothing {smoothing:g}" * bool(smoothing)
        return {
            **({"regularize": penalties} if penalties else {}),
            "optimizer": f"{_chosen(config.optimizer)}, schedule {_chosen(config.schedule)}",
            "training": f"{epochs} of {steps}" + augmented + smoothed,
        }

    def _processes(self) -> dict[str, str]:
        """Who trains together; nothing where one process does."""
        if not self.ranks.several:
            return {}
        size = self.config.batch_size // self.config.train.accumulate
        least, rest = divmod(size, self.ranks.size)
        each = f"{least} or {least + 1}" if rest else str(least)
        return {"processes": f"{self.ranks.size}, each computes {each} of {size} images"}

    def _compiled(self) -> str:
        if not self.model.is_compiled:
            return ", not compiled" if self.config.compile == "auto" else ""
        size = compiling.images_of_a_step(self.config)
        if self.objective.units == "images" and self.objective.splits["train"] < size:
            return f"; no training step is compiled, all batches are below {size} images"
        core = self.model.core
        loops = isinstance(core, ODEBlock) and core.compiled is not None
        waits = "; solves still wait for the GPU at every step"
        waits = waits if loops and self.backend.device.type == "cuda" else ""
        return ", compiled in the first step unless it was before" + waits

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
        if TASKS[self.config.task].gradients == "every":
            return f"every method, backwards {self.config.backward_solver()}"
        norm = f", {norm} norm" if (norm := getattr(sensitivity, "norm", None)) else ""
        backwards = f", backwards {solver}" if (solver := self.config.backward_solver()) else ""
        return sensitivity.name + norm + backwards


def _chosen(section: Section) -> str:
    """What was chosen of a section, and those of its options that are not null or 0."""
    values = section.model_dump()
    name = values.pop("name")
    return " ".join([name, *(f"{key}={plain(value)}" for key, value in values.items() if value)])
