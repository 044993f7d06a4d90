"""The shipped experiments: sound, of the published size, and compared with known columns."""

from collections.abc import Callable
from pathlib import Path

import pytest

from node_cli.cli import runs
from node_cli.cli.command import Command, Job
from node_cli.config.files import CONF
from node_cli.config.schema import Config
from node_cli.data.catalog import IMAGES
from node_cli.errors import UserError
from node_cli.models.classifier import build
from node_cli.models.describe import parameter_count
from tests.commands import NodeTrain

pytestmark = pytest.mark.usefixtures("undrawn")

NAMES = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml") if not p.stem.startswith("_"))

PARAMETERS = {
    "lux_mnist": 16_450,
    "diffeqflux_conv": 206_730,
    "fashion_dense": 87_532,
    "surtsukov_mnist": 208_010,
    "chen_table1_mlp": 238_510,
    "chen_table1_resnet": 576_778,
    "chen_table1_rknet": 208_266,
    "chen_table1_odenet": 208_266,
    "chen_table1_control": 132_874,
    "aca_node18": 11_173_962,
    "anode": 85_462,
    "pal2021": 166_418,
    "pal2023": 166_418,
    "continuousnet_euler": 272_986,
    "continuousnet_rk4": 272_986,
}

Configure = Callable[..., Config]


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_networks_have_the_published_size(name: str, configure: Configure) -> None:
    config = configure(f"experiment={name}")
    images = IMAGES[config.data.name]
    assert parameter_count(build(config, images.shape, images.classes)) == PARAMETERS[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_may_start(name: str, configure: Configure) -> None:
    """What is only checked with torch and records, the columns of published tables among it."""
    config = configure(f"experiment={name}")
    runs.preflight_all(Command([Job([], config, [])], Path()))
    assert all(table.source for table in config.published or [])


def test_another_solver_takes_none_of_the_options_of_the_experiment(configure: Configure) -> None:
    config = configure("experiment=spiral_linear", "solver=dopri5")
    solver = config.forward_solver()
    assert (solver.step_size, solver.rtol) == (None, 1e-3)
    with pytest.raises(UserError, match=r"solver\.step_size=0\.1: not used by solver=dopri5"):
        configure("experiment=spiral_linear", "solver=dopri5", "solver.step_size=0.1")


def test_what_the_julia_libraries_do_silently(configure: Configure) -> None:
    for name in ("lux_mnist", "diffeqflux_conv", "fashion_dense"):
        config = configure(f"experiment={name}")
        assert config.model.init == "glorot"
        assert config.data.normalize is False
        assert config.optimizer.weight_decay == 0
        assert config.sensitivity is not None
        assert config.sensitivity.name == "interpolating"


def test_a_run_ends_with_the_published_table(
    node_train: NodeTrain, tmp_path: object, full_data: object
) -> None:
    result = node_train("experiment=lux_mnist", f"data.root={full_data}", "epochs=1", "seed=1")
    assert result.code == 0, result.err
    assert "(2: InterpolatingAdjoint, ZygoteVJP, another version of the page" in result.out
    (row,) = [line for line in result.out.splitlines() if "| 3.31        | 7.01 " in line]
    assert "| 50.74% " in row


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("columns: epoch loss,rows: [1]", "published.0.rows.0=1: must be a valid string"),
        ("columns: epoch seconds,rows: ['1 x']", "x is not a number"),
        ("columns: epoch seconds,rows: ['1']", "needs 2 numbers"),
        ("columns: epoch seconds,rows: ['1.5 2']", "epoch 1.5 is not a whole number"),
        ("columns: epoch test_accuracy,rows: ['1 97.1']", "test_accuracy 97.1 is not a fraction"),
        ("columns: epoch seconds,rows: []", "at least 1 item"),
        ("columns: '',rows: ['']", "names, each once"),
        ("columns: epoch,rows: ['1']", "names, each once"),
        ("columns: epoch seconds seconds,rows: ['1 2 3']", "names, each once"),
        ("columns: seconds epoch,rows: ['1 2']", "names, each once"),
        ("columns: seconds,rows: ['1','2']", "a single one"),
        ("columns: step test_acc,rows: ['1 0.5']", "test_acc: not in the records of a run"),
        ("setting: {solver.nam: x},columns: seconds,rows: ['1 ']", "solver.nam: no such key"),
        ("columns: seconds", "published.0.rows: missing"),
    ],
)
def test_a_wrong_table_is_one_line(node_train: NodeTrain, fields: str, message: str) -> None:
    result = node_train(f"published=[{{title: a,source: b,{fields}}}]")
    assert result.code == 2
    (line,) = result.err.splitlines()
    assert line.startswith("error: published.0")
    assert message in line
