"""The configuration: every choice composes, every mistake is one line, nothing else is raised."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from node_cli.cli.compose import Composer
from node_cli.cli.over_checkpoint import plain_tree
from node_cli.config.check import checked
from node_cli.config.files import CONF
from node_cli.config.schema import Config, keys, options
from node_cli.errors import UserError
from node_cli.ode.solver import METHODS
from node_cli.regularisers.table import REGULARISERS

Configure = Callable[..., Config]
GROUPS = {
    folder.name: [f.stem for f in folder.glob("*.yaml") if not f.stem.startswith("_")]
    for folder in CONF.iterdir()
    if folder.name in Config.model_fields
}

# What else has to be chosen, beside the defaults.
PARTNERS = {
    "scipy": ["sensitivity=backsolve"],
    "spiral_linear": ["model=linear_field"],
    "spiral_nonlinear": ["model=mlp_field"],
    "linear_field": ["data=spiral_linear"],
    "mlp_field": ["data=spiral_nonlinear"],
    "folder": ["data.root=x"],
    "arrays": ["data.root=x"],
}


@pytest.mark.parametrize(
    ("group", "choice"), [(group, choice) for group in GROUPS for choice in GROUPS[group]]
)
def test_every_choice_of_every_group_composes(
    configure: Configure, group: str, choice: str
) -> None:
    config = configure(f"{group}={choice}", *PARTNERS.get(choice, []))
    section = getattr(config, group)
    chosen = section[choice] if group == "regularize" else section
    assert chosen is None or chosen.name == choice


def test_every_solver_has_a_file_and_every_file_a_solver() -> None:
    assert set(GROUPS["solver"]) == set(METHODS)


def test_yaml_files_hold_only_keys_of_the_schema_and_say_what_each_is_for() -> None:
    for path in CONF.rglob("*.yaml"):
        tree = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(tree, dict)
        group = path.parent.name
        names = set(tree) - {"defaults", "hydra", "resume"}
        if group == "table":
            continue  # no part of a configuration
        if group in (CONF.name, "experiment"):
            assert names <= set(Config.model_fields)
        else:
            of_group = REGULARISERS[path.stem].options.takes() if group == "regularize" else []
            assert names <= {*(of_group or options(group)), "name"}, path


def test_forward_and_backward_solver(configure: Configure) -> None:
    config = configure("sensitivity=backsolve", "solver.rtol=1e-4", "sensitivity.atol=1e-7")
    forward, backward = config.forward_solver(), config.backward_solver()
    assert (forward.rtol, forward.atol) == (1e-4, 1e-3)
    assert (backward.name, backward.rtol, backward.atol) == ("dopri5", 1e-4, 1e-7)
    config = configure(
        "solver=rk4",
        "sensitivity=backsolve",
        "sensitivity.solver=tsit5",
        "sensitivity.rtol=1e-5",
        "sensitivity.atol=1e-6",
    )
    backward = config.backward_solver()
    assert (backward.name, backward.rtol, backward.step_size) == ("tsit5", 1e-5, None)


def test_a_typed_key_silences_what_says_the_same_in_another_way(configure: Configure) -> None:
    solver = configure("solver=rk4", "solver.n_steps=5").forward_solver()
    assert (solver.n_steps, solver.step_size) == (5, None)
    solver = configure("solver=rk4", "solver.step_size=0.3").forward_solver()
    assert (solver.n_steps, solver.step_size) == (None, 0.3)


def test_a_core_without_an_ode_has_neither_solver_nor_sensitivity(configure: Configure) -> None:
    config = configure("model=resnet")
    assert config.solver is config.sensitivity is None


def test_the_resolved_configuration_is_itself_a_valid_one(configure: Configure) -> None:
    """What a run writes into config.yaml is what it can be resumed from."""
    for overrides in (["solver=rk4"], ["model=resnet"], ["sensitivity=backsolve"]):
        config = configure(*overrides)
        assert checked(config.model_dump()) == (config, [])


def default_tree() -> dict[str, object]:
    with Composer() as composer:
        return plain_tree(composer.files.hydra.compose_config("config", [], run_mode=None))


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@settings(max_examples=300, deadline=None)
@given(changes=st.dictionaries(st.sampled_from(keys()), junk, max_size=4), data=st.data())
def test_no_value_raises_anything_but_a_user_error(
    changes: dict[str, object], data: st.DataObject
) -> None:
    """Any values under any keys: a checked configuration, or lines for the user."""
    tree = TREE | {name: dict(v) for name, v in TREE.items() if isinstance(v, dict)}
    for key, value in changes.items():
        *sections, name = key.split(".")
        target = tree
        for section in sections:
            target = target.setdefault(section, {})  # type: ignore[assignment]
            assert isinstance(target, dict)
        target[name] = value
    typed = data.draw(st.sets(st.sampled_from(sorted(changes) or ["epochs"])))
    try:
        checked(tree, typed)
        lines = ["fine"]
    except UserError as error:
        lines = list(error.problems)
    assert lines
    assert all(line and "\n" not in line for line in lines)


TREE = default_tree()
