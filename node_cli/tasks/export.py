"""The task export."""

import time

import torch

import node_cli
from node_cli.config.schema import Config
from node_cli.display import Display
from node_cli.errors import UserError
from node_cli.learn.norm_statistics import is_per_time
from node_cli.machine.device import Backend
from node_cli.machine.environment import environment
from node_cli.ode.solver import Solver
from node_cli.ode.unrolled import can_be_unrolled
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.task import End
from node_cli.trained.formats import FORMATS
from node_cli.trained.instead import instead_of
from node_cli.trained.loading import of_config
from node_cli.trained.model import TrainedModel

AGREES = 1e-5
"""The largest difference of a probability of what was written from one of the model."""

IMAGES = 5  # compared, in a batch of its own size and one by one


class Export:
    """Writes a trained model in another format, and compares what the file answers. No score."""

    def __init__(self, config: Config, folder: RunFolder) -> None:
        assert config.format is not None
        self.folder = folder
        self.format = FORMATS[config.format]
        exact = config.precision == "float64"
        self.config = config.model_copy(update={} if exact else {"precision": "float32"})
        self.rounded = config.precision if self.config != config else None
        self.model = of_config(self.config)
        if self.format.is_graph:
            _check_graph(self.config, self.model)
        self.solver = config.forward_solver() if config.solver else None
        self.path = folder.path / self.format.file

    def show_header(self, display: Display) -> None:
        """Print the model, and the format."""
        config, model, solver = self.config, self.model, self.solver
        display.facts(
            {
                "node-train": f"{node_cli.__version__}, task export",
                "model": f"{config.model.name}, {len(model.classes)} classes, {config.checkpoint}",
                "images": f"[N, {', '.join(map(str, model.shape))}], from 0 to 1",
                "solver": str(solver or "none"),
                "format": f"{config.format}, {self.format.meaning}",
                "folder": str(self.folder.path),
            }
        )
        if self.rounded:
            display.line(f"note: trained with precision={self.rounded}, exported in float32")

    def run(self, display: Display) -> End:
        """Write, compare, record. Raises ``UserError`` where the file answers otherwise; then it is
        not kept."""
        config, model, solver = self.config, self.model, self.solver
        self.show_header(display)
        start = time.perf_counter()
        difference = self._written()
        size = self.path.stat().st_size
        display.line(
            f"\n{self.path}, {size / 1e6:.2f} MB\n"
            f"probabilities of {IMAGES} images differ from the model's by at most {difference:.1e}"
        )
        self.folder.write_result(
            {
                "task": "export",
                "checkpoint": config.checkpoint,
                "format": config.format,
                "file": self.path.name,
                "bytes": size,
                "largest_difference": difference,
                "solver": str(solver) if solver else None,
                "classes": model.classes,
                "shape": model.shape,
                "seconds": time.perf_counter() - start,
                "environment": environment(_backend(config), config.packages),
            }
        )
        return End(None)

    @torch.no_grad()
    def _written(self) -> float:
        """Write the file; return the largest difference of what it answers."""
        model, generator = self.model, torch.Generator().manual_seed(0)
        images = torch.rand(IMAGES, *model.shape, dtype=model.scale.dtype, generator=generator)
        batches = [images, *images.split(1)]
        expected = [model(batch) for batch in batches]
        answers = self.format.writer()(model, self.path)
        differences = [
            float((answers(batch) - right).abs().max())
            for batch, right in zip(batches, expected, strict=True)
        ]
        largest = max(differences)
        if not largest <= AGREES:
            self.path.unlink()
            raise UserError(
                f"format={self.config.format}: the file answers otherwise than the model, by "
                f"{largest:.1e}, more than {AGREES:g}; it is not kept"
            )
        return largest


def _check_graph(config: Config, model: TrainedModel) -> None:
    """Raise ``UserError`` where a model is no graph without branches: with what can be done."""
    name = config.format
    if is_per_time(config, model.classifier):
        raise UserError(
            f"format={name}: BatchNorm inside f has statistics for each part of the interval, "
            "which a graph cannot have; eval.batch_norm=running exports those of the training"
        )
    if config.solver is None or can_be_unrolled(solver := config.forward_solver()):
        return
    raise UserError(
        f"format={name}: {_why(solver)}; instead take {instead_of(model, config)}; "
        "or format=safetensors"
    )


def _why(solver: Solver) -> str:
    match solver.method.kind:
        case "adaptive":
            return f"solver={solver.name} chooses its steps by the images, which a graph cannot"
        case "fixed":
            return "solver.jump_t cuts the solve, which a graph cannot"
        case _:
            return f"solver={solver.name} is torchdiffeq's, and its steps are no graph"


def _backend(config: Config) -> Backend:
    dtype = torch.float64 if config.precision == "float64" else torch.float32
    return Backend(torch.device("cpu"), config.precision, dtype)
