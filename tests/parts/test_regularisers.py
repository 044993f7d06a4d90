"""Regularisers of installed packages: as ours, from their options to their refusals."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from node_cli import load
from node_cli.cli.help import help_text
from node_cli.cli.parts_info import parts_text
from node_cli.config.check import checked
from node_cli.config.schema import Config
from node_cli.errors import UserError
from node_cli.records.run_folder import RunFolder
from tests.commands import NodeTrain, composed
from tests.folders import rows
from tests.packages import Installer

pytestmark = pytest.mark.usefixtures("undrawn")

SPEED = '''
from node_cli.ode.penalties import StepPenalty
from node_cli.regularisers.regulariser import OfField, OfInterval, OfPath, OfSteps


class Speed(OfPath):
    """The mean of a power of |f|."""

    def __init__(self, *, power: int = 1):
        self.power = power

    def integrand(self, y, generator):
        return lambda f, t, y, dy: dy.abs().pow(self.power).mean()


class Steps(OfSteps):
    """The number of steps."""

    def penalty(self, generator):
        return StepPenalty(lambda solver, step: step.y1.new_ones(()))


class Size(OfField):
    """The first parameter of f."""

    def measure(self, field):
        return next(field.parameters()).flatten()[0]


class Shorter(OfInterval):
    """The first half of the interval."""

    def times(self, t, generator):
        return t / 2
'''

ENTRIES = {
    "regularisers": {
        "speed": "own_parts.speed:Speed",
        "steps": "own_parts.speed:Steps",
        "shorter": "own_parts.speed:Shorter",
        "size": "own_parts.speed:Size",
    }
}

SHORT = ("data.limit=32", "batch_size=16", "epochs=1", "device=cpu")

Configure = Callable[..., Config]


@pytest.fixture
def speed(install: Installer) -> Installer:
    install(files={"speed.py": SPEED}, entries=ENTRIES)
    return install


def problems(*overrides: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        composed(*overrides)
    return [*caught.value.problems]


def test_options_are_those_of_the_signature_and_a_weight(
    speed: Installer, configure: Configure
) -> None:
    chosen = ("regularize=[speed,shorter]", "regularize.speed.weight=3")
    config = configure(*chosen, "regularize.speed.power=2")
    tree = config.model_dump()
    assert tree["regularize"] == {
        "speed": {"name": "speed", "weight": 3.0, "final_weight": None, "power": 2},
        "shorter": {"name": "shorter"},
    }
    assert config.packages == {"own-parts": "0.1.0"}
    assert checked(tree) == (config, [])
    assert help_text().split().count("speed") == 1
    line = "own_parts.speed:Speed; options weight=1.0, final_weight=null, power=1"
    assert line in parts_text()


OBSERVER = """
from node_cli.learn.observer import Observer


class Silent(Observer):
    pass
"""


def test_it_measures_what_it_says_in_a_run(
    speed: Installer, node_train: NodeTrain, tmp_path: Path
) -> None:
    """Without its package, and that of an observer, nothing is trained; the rest is as before."""
    entries = {"observers": {"silent": "own_observer.silent:Silent"}}
    speed("own-observer", files={"silent.py": OBSERVER}, entries=entries)
    chosen = ["regularize=[speed,kinetic,steps]", "regularize.speed.power=2", "observers=[silent]"]
    result = node_train(*chosen, "regularize.speed.weight=0.5", *SHORT, "hydra.run.dir=run")
    assert result.code == 0, result.err
    for row in rows(RunFolder(tmp_path / "run").steps):
        number = {name: float(cell) for name, cell in row.items() if cell}
        assert number["penalty_speed"] == number["penalty_kinetic"]
        assert number["penalty_steps"] == number["accepted_forward"]
        weighed = 0.5 * number["penalty_speed"] + 0.01 * number["penalty_kinetic"]
        assert number["penalty"] == pytest.approx(weighed + number["penalty_steps"])
    speed.remove("own-parts")
    missing = "made with own-parts 0.1.0, which is not installed"
    for typed in (["resume=run", "epochs=2"], ["task=profile", "checkpoint=run"]):
        result = node_train(*typed)
        assert result.code == 2
        for name in ("speed", "steps"):
            assert f"regularize={name}: {missing}" in result.err
        assert "Traceback" not in result.err
    speed.remove("own-observer")
    assert load("run")(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    result = node_train("task=eval", "checkpoint=run")
    assert result.code == 0, result.err
    result = node_train(*SHORT, "init_from=run", "--dry-run")
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["regularize=[speed]", "regularize.speed.powr=2"],
            "regularize.speed.powr=2: no such key (did you mean regularize.speed.power?)",
        ),
        (
            ["regularize=[speed]", "regularize.speed.power=two"],
            "regularize.speed.power=two: must be a valid integer, not text",
        ),
        (
            ["regularize=[speed]", "regularize.speed.weight=-1"],
            "regularize.speed.weight=-1: must be greater than 0",
        ),
        (
            ["regularize=[shorter]", "regularize.shorter.weight=1"],
            "regularize.shorter.weight=1: no such key",
        ),
        (
            ["regularize=[steer]", "regularize.speed.power=2"],
            "regularize.speed.power=2: not used, speed is not among regularize=[steer]",
        ),
        (["regularize=[sped]"], "regularize=sped: choose from"),
        (["regularize=[speed]", "compile=true"], "regularize=speed: not with compile=true"),
        (
            ["regularize=[steps]", "sensitivity=backsolve"],
            "regularize=steps: sensitivity=backsolve does not differentiate the solver's steps",
        ),
        (
            ["regularize=[shorter]", "data=spiral_linear", "model=linear_field"],
            "regularize=shorter: not with a trajectory",
        ),
    ],
)
def test_mistakes_are_one_line(speed: Installer, overrides: list[str], line: str) -> None:
    (found,) = problems(*overrides)
    assert found.startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Speed = 3", "own_parts.speed:Speed is no class that derives from a kind of regulariser"),
        ("class Speed: ...", "is no class that derives from a kind of regulariser"),
        (SPEED.replace("integrand", "integral"), "own_parts.speed:Speed has no integrand"),
        (SPEED.replace("power", "weight"), "its option weight is one that node-train has itself"),
        (SPEED.replace("power: int = 1", "power"), "its option power has no type"),
        ("import nothing_of_this_name", "ModuleNotFoundError, No module named"),
    ],
)
def test_a_broken_package_costs_its_own_use_alone(install: Installer, text: str, line: str) -> None:
    install(files={"speed.py": text}, entries=ENTRIES)
    (found,) = problems("regularize=[speed]")
    assert found.startswith("regularize=speed: own-parts 0.1.0")
    assert line in found and "\n" not in found
    composed("regularize=[error]")
    assert line in parts_text()


def test_what_cannot_be_made_or_measures_no_number_is_one_line(
    install: Installer, node_train: NodeTrain
) -> None:
    made = SPEED.replace("self.power = power", "raise ValueError('too fast')")
    for text, line in (
        (made, "regularize=speed: own-parts 0.1.0 cannot make one: ValueError, too fast"),
        (
            SPEED.replace("flatten()[0]", "flatten()[:3]"),
            "regularize=size: measures [3], must be a 0-dim tensor",
        ),
        (
            SPEED.replace(".pow(self.power).mean()", ".pow(self.power)"),
            "regularize=speed: measures [16, 20], must be a 0-dim tensor",
        ),
    ):
        install(files={"speed.py": text}, entries=ENTRIES)
        result = node_train("regularize=[speed,size]", *SHORT)
        assert result.code == 2, result.err
        assert result.err.startswith(f"failed: {line}")
        assert result.err.count("\n") == 1
