"""Keys that an older version did not write take the defaults of the YAML files."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from node_cli.config.check import checked
from node_cli.config.schema import Config, sections
from node_cli.errors import UserError

Configure = Callable[..., Config]

CHOICES = [
    [],
    ["solver=rk4", "sensitivity=backsolve", "optimizer=sgd", "schedule=step"],
    ["data=spiral_linear", "model=linear_field"],
    ["data=mnist", "model=resnet"],
]


@pytest.mark.parametrize("overrides", CHOICES)
def test_any_key_may_be_missing(configure: Configure, overrides: list[str]) -> None:
    config = configure(*overrides)
    tree = config.model_dump()
    for key in tree.keys() - {"model", "data", "solver", "sensitivity", "optimizer", "schedule"}:
        assert checked({k: v for k, v in tree.items() if k != key})[0] == config, key
    for section in sections():
        for key in (tree[section] or {}).keys() - {"name"}:
            without = deepcopy(tree)
            del without[section][key]
            assert checked(without)[0] == config, f"{section}.{key}"


def test_an_option_of_a_regulariser_may_be_missing(configure: Configure) -> None:
    config = configure("regularize=[error,steer]", "regularize.error.weight=3")
    tree = config.model_dump()
    for name, option in (("error", "final_weight"), ("steer", "half_width")):
        without = deepcopy(tree)
        del without["regularize"][name][option]
        assert checked(without)[0] == config


def test_a_group_that_is_missing_is_the_default_one(configure: Configure) -> None:
    tree: dict[str, Any] = configure("optimizer.lr=0.5").model_dump()
    del tree["schedule"], tree["sensitivity"]
    assert checked(tree)[0] == configure("optimizer.lr=0.5")


def test_a_default_that_refers_to_another_key(configure: Configure) -> None:
    tree = configure("batch_size=32").model_dump()
    del tree["eval"]["batch_size"]
    assert checked(tree)[0].eval.batch_size == 32


def test_a_choice_without_a_file_has_what_its_group_has_in_common(configure: Configure) -> None:
    tree = configure().model_dump()
    tree["model"] = {"name": "../model/dense", "stem": "dense", "field": "dense"}
    with pytest.raises(UserError, match=r"^model\.head: missing"):
        checked(tree)
    tree["model"]["head"] = "linear"
    model = checked(tree)[0].model
    assert (model.core, model.init, model.t1) == ("ode", "torch", 1.0)
