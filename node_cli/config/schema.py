"""The schema of a configuration. Below the command line there is no other form of it.

Defaults stand in the YAML files alone; a None here means that the chosen method has no such option.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
)

from node_cli.config.published import PublishedTable
from node_cli.config.section import Section
from node_cli.ode.solver import METHODS, SCIPY_METHODS, Controller, Engine, Solver, WarmStart

Precision = Literal["float32", "tf32", "float64", "bf16"]
Core = Literal["ode", "residual", "plain", "none"]

TRAJECTORIES = ("spiral_linear", "spiral_nonlinear")
"""The data sets that are a trajectory to fit; all others are images to classify."""


def _one_of(choices: Collection[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in choices:
            raise ValueError(f"choose from {', '.join(choices)}")
        return value

    return AfterValidator(check)


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda|cuda:(0|[1-9][0-9]{0,2})|mps", value):
        raise ValueError("choose from auto, cpu, cuda, cuda:N, mps")
    return value


def absolute(path: str) -> str:
    """A path that holds in any working directory. Raises ValueError where it is none."""
    if not path:
        raise ValueError("must be a path")
    try:
        return str(Path(path).expanduser().resolve())
    except RuntimeError as error:  # an unknown home
        raise ValueError(str(error)) from error


MOST_THREADS = 1024  # torch starts as many as it is told


def _threads(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= MOST_THREADS):
        return value
    raise ValueError(f"choose auto, or a number from 1 to {MOST_THREADS}")


Location = Annotated[str, AfterValidator(absolute)]

# A fixed grid of more steps does not fit into memory.
MOST_STEPS = 10**6


# Learning rates and decays below it never overflow in float32, however they are multiplied.
LARGEST_RATE = 1e9
Rate = Annotated[float, Field(gt=0, le=LARGEST_RATE)]


class ModelConfig(Section):
    name: str
    stem: str | None
    field: str | None
    head: str | None
    core: Core
    blocks: Annotated[int, Field(ge=1, le=10_000)] | None = None
    init: Literal["torch", "glorot"]
    field_call: Literal["module", "functional"] | None = None


class DataConfig(Section):
    name: str
    root: Location | None = None
    download: bool | None = None
    limit: PositiveInt | None = None
    holdout: Annotated[float, Field(ge=0, lt=1)] | None = None
    holdout_from: Literal["stratified", "last"] | None = None
    normalize: bool | None = None
    augment: bool | None = None
    drop_last: bool | None = None
    points: Annotated[int, Field(ge=2, le=100_000)] | None = None
    end: Annotated[float, Field(gt=0, le=10_000)] | None = None
    noise: Annotated[float, Field(ge=0)] | None = None
    windows: PositiveInt | None = None
    window_points: Annotated[int, Field(ge=2)] | None = None
    window_shortest: PositiveFloat | None = None
    window_longest: PositiveFloat | None = None

    @property
    def is_trajectory(self) -> bool:
        """A trajectory to fit, rather than images to classify."""
        return self.name in TRAJECTORIES


class SolverConfig(Section):
    name: Annotated[str, _one_of(METHODS)]
    tol: PositiveFloat | None = None
    rtol: PositiveFloat | None = None
    atol: PositiveFloat | None = None
    step_size: Annotated[float, Field(ge=1 / MOST_STEPS)] | None = None
    n_steps: Annotated[int, Field(ge=1, le=MOST_STEPS)] | None = None
    first_step: Literal["warm"] | PositiveFloat | None = None
    controller: Controller | None = None
    max_steps: PositiveInt | None = None
    max_nfe: PositiveInt | None = None
    max_order: Annotated[int, Field(ge=4, le=12)] | None = None
    scipy_method: Annotated[str, _one_of(SCIPY_METHODS)] | None = None
    engine: Engine


class SensitivityConfig(Section):
    name: Literal["discrete", "checkpointed", "backsolve", "interpolating", "gauss"]
    vjp: Literal["autograd", "compiled"]
    norm: Literal["full", "seminorm"] | None = None
    solver: Annotated[str, _one_of(METHODS)] | None = None
    rtol: PositiveFloat | None = None
    atol: PositiveFloat | None = None


class OptimizerConfig(Section):
    name: Literal["adam", "adamw", "sgd"]
    lr: Rate
    weight_decay: Annotated[float, Field(ge=0, le=LARGEST_RATE)]
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    grad_clip: PositiveFloat | None = None


class ScheduleConfig(Section):
    name: Literal["constant", "step", "cosine"]
    milestones: list[PositiveInt] | None = None
    gamma: Annotated[float, Field(gt=0, le=1)] | None = None


class TrainConfig(Section):
    checkpoint_every: PositiveInt | None = None
    on_solver_failure: Literal["raise", "skip"]
    max_skipped: PositiveInt | None = None


class EvalConfig(Section):
    batch_size: PositiveInt
    every_steps: PositiveInt | None = None
    from_step: PositiveInt | None = None
    initial: bool
    test: Literal["always", "end"]
    train: Literal["none", "all"] | PositiveInt


class Config(Section):
    """A checked configuration; ``solver`` and ``sensitivity`` are None without an ODE."""

    task: Literal["train", "eval", "check_gradients"]
    checkpoint: Location | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    device: Annotated[str, AfterValidator(_device)]
    precision: Precision
    threads: Annotated[Literal["auto"] | int, BeforeValidator(_threads)] = "auto"
    deterministic: bool
    compile: bool
    epochs: PositiveInt
    batch_size: PositiveInt
    model: ModelConfig
    data: DataConfig
    solver: SolverConfig | None
    sensitivity: SensitivityConfig | None
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    train: TrainConfig
    eval: EvalConfig
    published: list[PublishedTable] | None = None

    def forward_solver(self) -> Solver:
        """The solver of the forward pass, ``tol`` resolved into rtol and atol, ``warm`` into a
        start that has learnt nothing yet."""
        assert self.solver is not None
        options = self.solver.model_dump(exclude={"tol", "rtol", "atol"})
        if self.solver.first_step == "warm":
            options["first_step"] = WarmStart()
        return Solver(
            **options,
            rtol=self.solver.rtol or self.solver.tol,
            atol=self.solver.atol or self.solver.tol,
        )

    def backward_solver(self) -> Solver:
        """The solver of the backward pass: the forward one but for what ``sensitivity`` sets.

        A ``first_step`` in numbers is not handed on: it is the forward solve's own. Nor is the
        engine to a method that it does not have.
        """
        assert self.sensitivity is not None
        forward = self.forward_solver()
        name = self.sensitivity.solver or forward.name
        engines = METHODS[name].engines
        engine = forward.engine if forward.engine in engines else engines[0]
        is_warm = isinstance(forward.first_step, WarmStart) and engine == "native"
        options = {
            "engine": engine,
            "first_step": WarmStart() if is_warm else None,
            "controller": forward.controller if engine == "native" else None,
            "max_nfe": forward.max_nfe,
            "rtol": self.sensitivity.rtol or forward.rtol,
            "atol": self.sensitivity.atol or forward.atol,
            "step_size": forward.step_size,
            "n_steps": forward.n_steps,
            "max_steps": forward.max_steps,
            "max_order": forward.max_order,
            "scipy_method": forward.scipy_method or "RK45",
        }
        used = METHODS[name].options
        return Solver(name, **{k: v for k, v in options.items() if k in used})  # type: ignore[arg-type]


def section_type(name: str) -> type[Section] | None:
    """The schema of one section of ``Config``; None where ``name`` is a plain key."""
    annotation = Config.model_fields[name].annotation
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def keys() -> list[str]:
    """Every key that can be set, sections dotted: ``epochs``, ``solver.tol``.

    A section's ``name`` is not among them: it says which file of the group was chosen.
    """
    dotted = []
    for name in Config.model_fields:
        section = section_type(name)
        if section is None:
            dotted.append(name)
        else:
            dotted += [f"{name}.{key}" for key in section.model_fields if key != "name"]
    return dotted
