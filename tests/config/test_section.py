"""Variants of sections: each choice has one, with the options that its table says it reads."""

from collections.abc import Callable

import pytest

from node_cli.config.check import checked
from node_cli.config.files import choices
from node_cli.config.schema import Config, options, sections, variants
from node_cli.config.section import variant_of
from node_cli.data.catalog import IMAGES, OWN, POINTS, TRAJECTORIES
from node_cli.ode.sensitivity.methods import SENSITIVITIES
from node_cli.ode.solver import METHODS, TOLERANCES

Configure = Callable[..., Config]


@pytest.mark.parametrize("name", METHODS)
def test_a_solver_takes_what_its_method_reads(name: str) -> None:
    reads = METHODS[name].options
    reads |= {"tol"} if reads & TOLERANCES else frozenset()
    for engine in ("native", "torchdiffeq"):
        variant = variant_of(variants("solver"), {"name": name, "engine": engine})
        assert variant is not None
        unread = {"controller"} if engine == "torchdiffeq" else set()
        # That processes share their steps is nothing that a single solve reads.
        shared = {"shared_steps"} & {*variant.takes()}
        assert bool(shared) == (METHODS[name].kind == "adaptive" and engine == "native")
        assert {*variant.takes()} == (reads - unread) | shared


@pytest.mark.parametrize("name", SENSITIVITIES)
def test_a_gradient_method_takes_what_its_traits_say(name: str) -> None:
    variant = variant_of(variants("sensitivity"), {"name": name})
    assert variant is not None
    assert {*variant.takes()} == SENSITIVITIES[name].options | {"vjp"}


@pytest.mark.parametrize("section", ["data", "solver", "sensitivity", "optimizer", "schedule"])
def test_every_choice_has_a_file_and_every_file_a_variant(section: str) -> None:
    named = [name for variant in variants(section) for name in variant.chosen_by["name"]]
    assert {*named} == {*choices(section)}
    tables = {
        "data": {**IMAGES, **POINTS, **OWN, **TRAJECTORIES},
        "solver": METHODS,
        "sensitivity": SENSITIVITIES,
    }
    assert {*named} == {*tables.get(section, named)}


def test_an_option_of_another_variant_is_dropped_where_it_is_null(configure: Configure) -> None:
    """So that configurations are read which have a null for every option of every variant."""
    for overrides in ([], ["solver=rk4", "sensitivity=gauss"], ["model=resnet"], ["data=mnist"]):
        config = configure(*overrides)
        tree = config.model_dump()
        for section in sections():
            if tree[section] is not None:
                tree[section] = dict.fromkeys(options(section)) | tree[section]
        assert checked(tree) == (config, [])


def test_values_that_choose_no_variant() -> None:
    for values in (None, 3, {}, {"name": None}, {"name": ["rk4"]}, {"name": "rk5"}):
        assert variant_of(variants("solver"), values) is None
