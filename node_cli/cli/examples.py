"""An example of every choice and of every key, as a command that can be typed."""

from collections.abc import Sequence

from pydantic.fields import FieldInfo

from node_cli.cli.ranges import choices_of
from node_cli.config.files import choices, default_choices, root_values, values_of
from node_cli.config.messages import plain
from node_cli.config.schema import choice_of, several, types_of, variants
from node_cli.config.section import variant_of
from node_cli.data.augmentations import AUGMENTATIONS

# What a key, or a choice, needs beside it.
NEEDS = {
    "checkpoint": "task=eval",
    "images": "task=predict checkpoint=RUN",
    "format": "task=export checkpoint=RUN",
    "eval.from_step": "eval.every_steps=100",
    "eval.top_k": "eval.metrics=[top_k]",
    "train.min_delta": "train.stop_early=10",
    "train.max_skipped": "train.on_solver_failure=skip",
    "init_from_strict": "init_from=RUN",
    "eval.batch_norm": "model=conv_bn",
    "model.augment_by": "model.augment=5",
    "model.velocity": "model.dynamics=second_order",
    "model.damping": "model.dynamics=heavy_ball",
    "model.blocks": "model.core=residual",
    "schedule.gamma": "schedule=step",
    "sweep.fail_fast": "-m seed=0,1,2",
    "data=folder": "data.root=DIR",
    "data=arrays": "data.root=FILE.npz",
    "data=spiral_linear": "model=linear_field",
    "data=spiral_nonlinear": "model=mlp_field",
    "model=linear_field": "data=spiral_linear",
    "model=mlp_field": "data=spiral_linear",
    "solver=scipy": "sensitivity=backsolve",
    **{
        f"data.{key}": f"data.augment=[{name}]"
        for name, row in AUGMENTATIONS.items()
        for key in row.options
    },
}

# Where neither the default nor the type of a key makes a good one.
VALUES = {
    "checkpoint": "RUN",
    "images": "DIR",
    "format": "safetensors",
    "init_from": "RUN",
    "data.root": "DIR",
    "compile": "true",
    "device": "cpu",
    "threads": "1",
    "observers": "[files]",
    "seed": "1",
    "solver.jump_t": "[0.3,0.7]",
    "model.stem": "dense",
    "model.field": "dense_relu",
    "model.head": "linear",
    "task": "check_gradients",
    "sensitivity.solver": "tsit5",
}
# Where a key is not typed by itself. NAME stands for a part of an installed package.
WHOLE = {
    "published": "node-train experiment=lux_mnist",
    "model.stem_options": "node-train model=continuousnet model.stem_options.channels=32",
    "model.field_options": "node-train model.field_options.width=64",
    "model.head_options": "node-train model.head=NAME model.head_options.KEY=VALUE",
    "data.options": "node-train data=NAME data.options.KEY=VALUE",
    "model.stages": "node-train model=node18 "
    "'model.stages=[{channels:64,blocks:2,entry:residual,stride:1}]'",
}

ANY_NUMBER = {int: "10", float: "0.1"}


def of_choice(group: str, choice: str) -> str:
    """``node-train solver=rk4``, with what else the choice needs."""
    typed = f"{group}={choice}"
    return _command(NEEDS.get(typed, ""), f"{group}=[{choice}]" if group in several() else typed)


def of_key(key: str) -> str:
    """``node-train solver=rk4 solver.n_steps=10``, with what else the key needs."""
    if key in WHOLE:
        return WHOLE[key]
    group, _, name = key.rpartition(".")
    if chosen := choice_of(key):
        section, choice = chosen
        field = types_of(key)[0].model_fields[name]
        default = values_of(section, choice)[name]
        return _command(f"{section}=[{choice}]", f"{key}={_value(key, field, default)}")
    if group not in default_choices():
        default = root_values()
        for part in key.split("."):
            default = default[part]
        field = next(t.model_fields[name] for t in types_of(key) if name in t.model_fields)
        return _command(NEEDS.get(key, ""), f"{key}={_value(key, field, default)}")
    choice, field = _having(group, name)
    values = values_of(group, choice)
    typed = "" if choice == default_choices()[group] else f"{group}={choice}"
    needs = [NEEDS.get(key, "") or typed, NEEDS.get(typed, "")]
    needs = [words for words in needs if not words.startswith(f"{key}=")]
    return _command(*needs, f"{key}={_value(key, field, values.get(name))}")


def _command(*words: str) -> str:
    return " ".join(["node-train", *dict.fromkeys(word for word in words if word)])


def _having(group: str, name: str) -> tuple[str, FieldInfo]:
    """A choice of a group whose options have this one, the default choice before others."""
    default = default_choices()[group]
    for choice in sorted(choices(group), key=lambda choice: choice != default):
        variant = variant_of(variants(group), values_of(group, choice))
        if variant and name in variant.model_fields and name in values_of(group, choice):
            return choice, variant.model_fields[name]
    fields = [v.model_fields[name] for v in variants(group) if name in v.model_fields]
    return default, fields[0]


def _value(key: str, field: FieldInfo, default: object) -> str:
    """A value that is not the default where the type of the key says one."""
    if key in VALUES:
        return VALUES[key]
    words: Sequence[str] = [w for w in choices_of(field) if w not in ("null", plain(default))]
    if words:
        return words[0]
    if default is not None and not isinstance(default, dict):
        return plain(default)
    text = str(field)
    return ANY_NUMBER[float if "float" in text else int]
