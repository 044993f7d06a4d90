"""The task check_gradients: the gradient of every method on one batch, against a reference."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from statistics import median

import torch
from torch import Tensor, nn

from node_cli.config.rules import impossible
from node_cli.config.schema import Config
from node_cli.config.sensitivity import with_method
from node_cli.data.streams import stream
from node_cli.display import Display
from node_cli.machine import memory
from node_cli.models.cores import sensitivity
from node_cli.models.model import Model
from node_cli.ode.failures import SolveFailed
from node_cli.ode.sensitivity.methods import SENSITIVITIES
from node_cli.records.columns import GRADIENTS
from node_cli.records.files import write_csv
from node_cli.records.run_folder import RunFolder
from node_cli.tasks.reference_gradient import Reference, Row, empty_row, work_of
from node_cli.tasks.setup import Setup, load_for_evaluation
from node_cli.tasks.task import End

LEAST_REPEATS, LEAST_SECONDS = 3, 1.0  # of each timing

LARGE_ERROR = 1e-2  # from here on the cause is named

# The columns on the terminal, and their widths.
SHOWN = {
    "": 22,
    "error": 8,
    "of f": 8,
    "cosine": 10,
    "NFE": 9,
    "VJPs": 5,
    "steps": 11,
    "MiB": 7,
    "ms": 8,
}
LEGEND = """\
error: relative to the reference, of the gradient by all parameters; of f: by those of f alone. That
of the reference is its own, estimated. NFE and steps (accepted/rejected): forward + backward.
MiB, ms: of one forward and backward pass."""

# The likely cause of a large error, by row.
CAUSES = {
    "reference": "f may have kinks or be stiff; take errors of that size for nothing",
    "finite_differences": "do not trust the reference (f may have kinks)",
    **{name: traits.large_error for name, traits in SENSITIVITIES.items()},
}


class CheckGradients:
    """Compares the gradients that the methods compute of the loss of the first training batch.

    The reference is the discrete gradient of the model in float64 under dopri8 with tight
    tolerances, practically that of the ODE itself: the errors of the rows include those of the
    configured solver, tolerances and precision. Finite differences of the loss check the reference.
    Every computation has its own copy of the model, without dropout; nothing is trained. There is
    no score.
    """

    def __init__(self, config: Config, folder: RunFolder) -> None:
        self.config = config
        self.folder = folder
        self.setup = setup = Setup(config)
        self.checkpoint = None
        if config.checkpoint is not None:
            self.checkpoint, self.progress = load_for_evaluation(config.checkpoint, setup.model)
        self.batch = next(setup.objective.batches(epoch=0, done=0))
        setup.model.train()
        for module in setup.model.modules():
            if isinstance(module, nn.Dropout):  # or no two losses would be those of the same model
                module.eval()

    def run(self, display: Display) -> End:
        """Compute, show and record a row for each method.

        Raises ``SolveFailed`` where the reference or every method fails.
        """
        setup = self.setup
        setup.show_header(display, self.folder)
        if self.checkpoint is not None:
            display.line(f"{self.checkpoint}, after {self.progress.step:,} steps")
        batch = setup.objective.batch_in_words(self.batch)
        display.line(f"Loss of the first {batch}\n")
        display.line(_line({name: name for name in SHOWN}))
        rows: list[Row] = []

        def add(row: Row) -> None:
            rows.append(row)
            if row["note"] is None or row["relative_error"] is not None:
                display.line(_line(_cells(row)))

        reference = Reference(setup.model, self._loss)
        add(reference.row())
        add(reference.finite_differences(stream(self.config.seed, "directions")))
        failures = []
        for chosen in _methods(self.config):
            try:
                add(self._row(chosen, reference))
            except SolveFailed as error:
                failures.append(error)
                add(_unmeasured(chosen, str(error)))
        write_csv(self.folder.gradients, GRADIENTS.columns, rows)
        if failures and all(row["seconds"] is None for row in rows):
            raise failures[0]
        display.line(f"\nreference: {reference.solver}, float64\n{LEGEND}")
        for words in _remarks(rows):
            display.line(words)
        self.folder.write_result(
            {
                "task": "check_gradients",
                **setup.facts(),
                "sensitivity": None,
                "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
                "batch": len(self.batch),
                "reference": str(reference.solver),
                "gradients": rows,
            }
        )
        return End(None)

    def _loss(self, model: Model) -> Tensor:
        """The loss as in training, or in float64 where the model is in float64."""
        example, backend = next(model.parameters()), self.setup.backend
        with backend.autocast() if example.dtype == backend.dtype else nullcontext():
            return self.setup.objective.loss(model, self.batch)

    def _row(self, chosen: Config, reference: Reference) -> Row:
        """The numbers of a method, or why it cannot be used."""
        if problems := impossible(chosen.model_dump()):
            return _unmeasured(chosen, problems[0].partition(": ")[2])
        device, model = self.setup.backend.device, deepcopy(self.setup.model)
        for block in model.ode_blocks:
            block.set_sensitivity(sensitivity(chosen))

        def compute() -> None:
            model.zero_grad()
            self._loss(model).backward()

        compute()  # warms up
        model.zero_grad()
        extra = memory.extra_mib(compute, device)
        seconds: list[float] = []
        while len(seconds) < LEAST_REPEATS or sum(seconds) < LEAST_SECONDS:
            model.take_work()
            seconds.append(_seconds(compute, device))
        row = _unmeasured(chosen) | reference.compared(model) | work_of(model)
        row |= {"extra_memory_mib": extra, "seconds": median(seconds)}
        if row["relative_error"] is None:
            row["note"] = "the gradient is not finite"
        return row


def _methods(config: Config) -> list[Config]:
    """The configuration with each method in turn; with each norm where it has several."""
    section, backward = config.sensitivity, config.backward_solver()
    assert section is not None and backward is not None
    adaptive = backward.method.kind == "adaptive"
    return [
        config.model_copy(update={"sensitivity": with_method(section, name, norm)})
        for name, traits in SENSITIVITIES.items()
        for norm in ((traits.norms if adaptive else ()) or (None,))
    ]


def _seconds(compute: Callable[[], None], device: torch.device) -> float:
    synchronize = getattr(torch, device.type).synchronize
    arguments = () if device.type == "mps" else (device,)
    synchronize(*arguments)
    start = time.perf_counter()
    compute()
    synchronize(*arguments)
    return time.perf_counter() - start


def _unmeasured(chosen: Config, note: str | None = None) -> Row:
    assert chosen.sensitivity is not None
    name, norm = chosen.sensitivity.name, getattr(chosen.sensitivity, "norm", None)
    return empty_row(name, note) | {"norm": norm}


def _name(row: Row) -> str:
    """The name on the terminal: ``backsolve seminorm``, say."""
    words = [str(row["sensitivity"]).replace("_", " "), row["norm"]]
    return " ".join(filter(None, words))


def _cells(row: Row) -> dict[str, str]:
    """The cells of a row on the terminal."""

    def shown(form: str, *names: str, scale: float = 1) -> str:
        values = [row[name] for name in names]
        return form.format(*(v * scale for v in values)) if None not in values else ""

    steps = [
        shown("{}/{}", f"accepted_{way}", f"rejected_{way}") for way in ("forward", "backward")
    ]
    return {
        "": _name(row),
        "error": shown("{:.1e}", "relative_error"),
        "of f": shown("{:.1e}", "relative_error_f"),
        "cosine": shown("{:.8f}", "cosine"),
        "NFE": shown("{}+{}", "nfe_forward", "nfe_backward"),
        "VJPs": shown("{}", "vjps_backward"),
        "steps": "+".join(filter(None, steps)),
        "MiB": shown("{:.2f}", "extra_memory_mib"),
        "ms": shown("{:.1f}", "seconds", scale=1000),
    }


def _line(cells: Mapping[str, str]) -> str:
    return " ".join(
        f"{cells[name]:{'>' if name else '<'}{width}}" for name, width in SHOWN.items()
    ).rstrip()


def _remarks(rows: Sequence[Row]) -> Iterator[str]:
    """A line on each row without numbers or with a large error."""
    by_discrete = max(
        (row["relative_error"] or 0.0 for row in rows if row["sensitivity"] == "discrete"),
        default=0.0,
    )
    for row in rows:
        name, error, cause = row["sensitivity"], row["relative_error"], CAUSES[row["sensitivity"]]
        of_the_ode = name in SENSITIVITIES and SENSITIVITIES[name].gradient_of == "ode"
        if of_the_ode and error is not None and error < 2 * by_discrete:
            cause = "about as far as discrete: the forward solution is not that of the ODE"
        if error is None:
            yield f"{_name(row)}: {row['note']}"
        elif error > LARGE_ERROR:
            yield f"{_name(row)}: {error:.1e} off; {cause}"
