"""What the pages say of keys, choices and columns, against the code."""

from functools import cache
from typing import Any

import pytest
import yaml

from node_cli.cli.compose import Composer
from node_cli.config.files import CONF
from node_cli.config.schema import keys
from node_cli.config.tree import get
from node_cli.data.augmentations import AUGMENTATIONS
from node_cli.ode.sensitivity.methods import SENSITIVITIES
from node_cli.ode.solver import METHODS
from node_cli.records import column_tables
from node_cli.regularisers.table import REGULARISERS
from tests.docs import pages

# Between them, these have every key.
CONFIGURATIONS = (
    [],
    ["data=mnist"],
    ["data=emnist"],
    ["data=folder", "data.root=pictures"],
    ["data=spiral_linear", "model=linear_field"],
    ["model=resnet"],
    ["model.augment=1", "model.dynamics=heavy_ball"],
    ["solver=rk4"],
    ["solver=implicit_adams", "sensitivity=backsolve"],
    ["solver=scipy", "sensitivity=backsolve"],
    ["sensitivity=backsolve"],
    ["optimizer=sgd"],
    ["schedule=step"],
    ["schedule=cosine"],
    ["train.on_solver_failure=skip"],
    [f"regularize=[{','.join(REGULARISERS)}]"],
    ["train.stop_early=5"],
    ["eval.metrics=[top_k]"],
    [f"data.augment=[{','.join(AUGMENTATIONS)}]"],
)


def documented_keys() -> dict[str, str]:
    """Every key that a table of the pages explains, and its default there."""
    found: dict[str, str] = {}
    for page in pages.DOCS:
        for table in pages.tables(page):
            if table.header == ("key", "default", "meaning"):
                rows = {row[0].strip("`"): row[1].strip("`") for row in table.rows}
                assert not rows.keys() & found.keys(), "explained twice"
                found |= rows
    return found


@cache
def composed() -> list[dict[str, Any]]:
    with Composer() as composer:
        commands = [composer.command(composer.parse(o), multirun=False) for o in CONFIGURATIONS]
    return [job.config.model_dump() for command in commands for job in command.jobs]


def test_every_key_is_explained() -> None:
    assert documented_keys().keys() == {*keys()}


@pytest.mark.parametrize("key", documented_keys())
def test_defaults(key: str) -> None:
    """The default is that of one of the choices that have the key."""
    section, _, name = key.rpartition(".")
    values = []
    for config in composed():
        inside = get(config, section) if section else config
        if inside is not None and name in inside:
            values.append(inside[name])
    expected = yaml.safe_load(documented_keys()[key])
    if key == "data.options":  # of data sets that are not here
        values.append({})
    if key.endswith((".tol", ".lr", ".weight")):  # 1e-3 is a text
        expected = float(expected)
    last = [str(v).rpartition("/")[2] if key == "data.root" else v for v in values]
    assert expected in last


@pytest.mark.parametrize("group", [folder.name for folder in CONF.iterdir() if folder.is_dir()])
def test_every_choice_is_named(group: str) -> None:
    text = " ".join(page.read_text(encoding="utf-8") for page in pages.DOCS)
    for path in (CONF / group).glob("[!_]*.yaml"):
        assert f"`{path.stem}`" in text or f"table={path.stem}" in text, path.stem


def test_the_tables_of_methods_are_complete() -> None:
    for page, header, methods in (
        ("solvers.md", "`solver=`", METHODS),
        ("gradients.md", "`sensitivity=`", SENSITIVITIES),
        ("regularisers.md", "`regularize=`", REGULARISERS),
        ("recipes.md", "`data.augment=`", AUGMENTATIONS),
    ):
        (table,) = [
            t for t in pages.tables(pages.REPOSITORY / "docs" / page) if t.header[0] == header
        ]
        names = [word for row in table.rows for word in row[0].split("`")[1::2]]
        assert names == [*names] and {*names} == {*methods}


def test_columns() -> None:
    """``python -m node_cli.records.column_tables`` writes what stands there."""
    text = (pages.REPOSITORY / "docs" / "records.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("records.column_tables -->\n\n")
    assert rest.partition("\n<!-- end")[0] == column_tables.markdown()
