"""The schema of a configuration. Below the command line there is no other form of it.

Each section has a file of its own beside this one: its keys, its variants, and its own rules.
Defaults stand in the YAML files alone; a None means that there is no such limit or choice.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt

from node_cli.config.data import DataConfig, ImageData, TrajectoryData
from node_cli.config.eval import EvalConfig
from node_cli.config.model import ModelConfig
from node_cli.config.optimizer import OptimizerConfig
from node_cli.config.published import PublishedTable
from node_cli.config.regularize import RegularizeConfig
from node_cli.config.schedule import ScheduleConfig
from node_cli.config.section import Location, OneOf, Section, Several
from node_cli.config.sensitivity import SensitivityConfig, WithNorm, WithoutNorm
from node_cli.config.solver import SolverConfig
from node_cli.config.sweep import SweepConfig
from node_cli.config.tasks import TASKS
from node_cli.config.train import TrainConfig
from node_cli.ode.solver import Solver
from node_cli.trained.formats import FORMATS

Precision = Literal["float32", "tf32", "float64", "bf16"]


def _device(value: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda|cuda:(0|[1-9][0-9]{0,2})|mps", value):
        raise ValueError("choose from auto, cpu, cuda, cuda:N, mps")
    return value


MOST_THREADS = 1024  # torch starts as many as it is told


def _threads(value: object) -> object:
    if value == "auto" or (type(value) is int and 1 <= value <= MOST_THREADS):
        return value
    raise ValueError(f"choose auto, or a number from 1 to {MOST_THREADS}")


def _compile(value: object) -> object:
    if value == "auto" or isinstance(value, bool):
        return value
    raise ValueError("choose from false, true, auto")


WRITTEN = ("packages",)
"""Keys that a configuration has, and nobody sets."""

OF_THE_ODE = ("solver", "sensitivity", "regularize")
"""Sections that concern the solve alone."""


class Config(Section):
    """A checked configuration; ``solver`` and ``sensitivity`` are None without an ODE."""

    task: Annotated[str, OneOf(TASKS)]
    checkpoint: Location | None = None
    init_from: Location | None = None
    init_from_strict: bool
    images: Location | None = None
    format: Annotated[str, OneOf(FORMATS)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    device: Annotated[str, AfterValidator(_device)]
    precision: Precision
    threads: Annotated[Literal["auto"] | int, BeforeValidator(_threads)]
    deterministic: bool
    compile: Annotated[Literal["auto"] | bool, BeforeValidator(_compile)]
    epochs: PositiveInt
    batch_size: PositiveInt
    model: ModelConfig
    data: DataConfig
    solver: SolverConfig | None
    sensitivity: SensitivityConfig | None
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    regularize: RegularizeConfig
    train: TrainConfig
    eval: EvalConfig
    sweep: SweepConfig
    observers: list[str]
    published: list[PublishedTable] | None = None
    packages: dict[str, str]

    @property
    def image_data(self) -> ImageData:
        """The data of a configuration that classifies images."""
        assert isinstance(self.data, ImageData), "a trajectory"
        return self.data

    @property
    def trajectory(self) -> TrajectoryData:
        """The data of a configuration that fits a trajectory."""
        assert isinstance(self.data, TrajectoryData), "images"
        return self.data

    def forward_solver(self) -> Solver:
        """The solver of the forward pass, of a configuration with an ODE."""
        assert self.solver is not None, "no ODE"
        return self.solver.solver()

    def backward_solver(self) -> Solver | None:
        """The solver of the backward pass; None where the gradient method has none."""
        if not isinstance(self.sensitivity, WithNorm | WithoutNorm):
            return None
        return self.sensitivity.backward_solver(self.forward_solver())

    def solvers(self) -> list[Solver]:
        """Those of the forward and the backward pass, as far as there are any."""
        found = [self.forward_solver() if self.solver else None, self.backward_solver()]
        return [solver for solver in found if solver is not None]


@cache
def variants(section: str) -> tuple[type[Section], ...]:
    """The types of a section of ``Config``, one per variant; none for a plain key."""
    return tuple(_sections(Config.model_fields[section].annotation))


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if get_origin(annotation) in (Annotated, Union, UnionType):
        for part in get_args(annotation):
            yield from _sections(part)
    elif isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation


@cache
def sections() -> tuple[str, ...]:
    """The names of the sections of ``Config``; its other keys are plain ones."""
    return tuple(name for name in Config.model_fields if variants(name))


@cache
def several() -> Mapping[str, Several]:
    """The sections of several choices at once, by name."""
    return {
        name: mark
        for name, field in Config.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, Several)
    }


def choice_of(key: str) -> tuple[str, str] | None:
    """The section and the choice of an option ``SECTION.CHOICE.OPTION``; None for other keys."""
    section, _, inner = key.partition(".")
    choice, _, option = inner.partition(".")
    return (section, choice) if section in several() and option else None


def types_of(key: str) -> tuple[type[Section], ...]:
    """The types of what a key stands in: the variants of a section, the options of a choice, or for
    a root key ``Config``."""
    if found := choice_of(key):
        section, choice = found
        kind = several()[section].options(choice)
        return (kind,) if kind else ()
    section, _, name = key.rpartition(".")
    return variants(section) if name and section in sections() else (Config,)


def options(section: str) -> list[str]:
    """The keys of a section that some variant has, but for ``name``, which says which file of the
    group was chosen."""
    return list(dict.fromkeys(key for variant in variants(section) for key in variant.takes()))


def keys_of_choice(section: str, choice: str) -> list[str]:
    """The keys of a choice in a section of several; none where it is not known."""
    kind = several()[section].options(choice)
    return [f"{section}.{choice}.{key}" for key in kind.takes()] if kind else []


@cache
def keys() -> tuple[str, ...]:
    """Every key that can be set, those of sections dotted: ``epochs``, ``solver.tol``."""
    dotted = []
    for name in (name for name in Config.model_fields if name not in WRITTEN):
        if name in several():
            for choice in several()[name].ours:
                dotted += keys_of_choice(name, choice)
        else:
            dotted += [f"{name}.{key}" for key in options(name)] if name in sections() else [name]
    return tuple(dotted)
