"""The text of ``node-train --help``."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args, get_origin

from node_cli.config.files import CONF, choices
from node_cli.config.schema import Config, keys, options, sections, several, types_of, variants
from node_cli.config.section import OneOf, Section
from node_cli.parts.installed import choices as names
from node_cli.parts.installed import installed
from node_cli.parts.kinds import KINDS

MOST_WORDS = 8  # that a key is shown with

TEXT = """\
node-train: train and evaluate image classifiers whose middle is an ODE block.

Usage: node-train [-m] [key=value | group=choice ...]
       node-train --help [TOPIC]
       node-train table=TABLE [key=value ...]
       node-train resume=FOLDER
       node-train report FOLDER ... [report.out=FOLDER]
       node-train new NAME

Groups
{groups}

Parts, for model.stem, model.field, model.head and observers
{parts}

Keys (--cfg job shows their values; one that the chosen method does not use is an error)
{keys}
  hydra.run.dir hydra.sweep.dir

Examples
  node-train                                            a dense NODE on digits, offline
  node-train seed=1 epochs=40 optimizer.lr=3e-3         other settings
  node-train model=conv data=mnist device=cuda          a convolutional NODE, MNIST downloaded
  node-train model=conv solver=dopri5 solver.tol=1e-4   a tighter tolerance
  node-train solver=rk4 solver.n_steps=8                a fixed-step solver
  node-train sensitivity=backsolve                      the adjoint method
  node-train regularize=[error,steer]                   cheaper to solve: penalties, a random end
  node-train model=conv model.core=none data=mnist      the control: stem and head alone
  node-train -m solver.tol=1e-2,1e-3,1e-4 seed=0,1,2    a sweep, and its summary table
  node-train experiment=lux_mnist                       a published system, its numbers beside ours
  node-train table=lux_mnist                            a published table: its rows, its seeds
  node-train report outputs                             report.html: the runs in folders compared
  node-train task=eval checkpoint=RUN solver.tol=1e-6   a trained network under another solver
  node-train task=solver_swap checkpoint=RUN            the solution of an ODE, or of its steps?
  node-train task=predict checkpoint=RUN images=DIR     the classes of images of any size
  node-train task=export checkpoint=RUN format=onnx     a trained network for other programs
  node-train task=check_gradients solver.tol=1e-5       every gradient method against a reference
  node-train task=profile                               where the time of a training step goes
  node-train resume=RUN                                 go on after an interruption
  node-train new my_parts                               a package for an f or a data set of yours

Flags
  -m, --multirun       run every combination of the comma-separated values
  --dry-run            show what would run: its steps, the time of some, the memory; of -m the jobs
  --quiet              print the folder of the run or sweep alone, and errors
  --json               print a JSON object for each epoch, and one at the end
  --cfg job            show the configuration instead of running
  --info defaults      show where each part of it comes from
  --info parts         show what every part is, those of installed packages with their options
  --config-dir DIR     also look for configuration files in DIR
  -sc install=bash     tab completion: eval "$(node-train -sc install=bash)" (also zsh, fish)
  --help TOPIC         all of a group, a choice, a key, a task or a part: --help solver.controller
  --version, --help
"""


def help_text() -> str:
    """The help, with every choice of every group, every part of a model, and every key."""
    groups = {
        folder.name: choices(folder.name) for folder in sorted(CONF.iterdir()) if folder.is_dir()
    }
    for kind, row in KINDS.items():
        if (group := row.key.removesuffix(".name")) in groups:
            groups[group] += installed(kind)
    parts = {kind: names(kind) for kind, row in KINDS.items() if not {kind, row.key} & {*groups}}
    lines = "\n".join(_wrapped(words) for words in _keys())
    return TEXT.format(groups=_listed(groups), parts=_listed(parts), keys=lines)


def _listed(named: Mapping[str, Iterable[str]]) -> str:
    """A line for each kind of thing, with its names."""
    width = max(map(len, named))
    return "\n".join(
        _wrapped(names, f"  {kind:<{width}}  ", " " * (width + 4)) for kind, names in named.items()
    )


def _keys() -> list[list[str]]:
    """The root keys, then those of each section, with their values where these are a few words."""
    root = [key + _values([Config], key) for key in keys() if "." not in key]
    of_sections = [
        [f"{section}.{key}{_values(variants(section), key)}" for key in options(section)]
        for section in sections()
    ]
    of_choices = [
        [
            key + _values(types_of(key), key.rpartition(".")[2])
            for key in keys()
            if key.startswith(f"{section}.")
        ]
        for section in several()
    ]
    return [root, *of_sections, *of_choices]


def _values(types: Iterable[type[Section]], key: str) -> str:
    """``=a|b`` where the values of a key are a few words in all variants together, ``=N`` where
    they are whole numbers; else empty."""
    fields = [variant.model_fields[key] for variant in types if key in variant.model_fields]
    parts = [part for field in fields for part in (field.annotation, *field.metadata)]
    words = dict.fromkeys(word for part in parts for word in _words(part))
    if any(get_origin(part) is dict for part in parts):
        return ".OPTION"
    if len(words) > MOST_WORDS:
        return ""
    return f"={'|'.join(words)}" if words else ""


def _words(annotation: Any) -> list[str]:
    if isinstance(annotation, OneOf):
        return list(annotation.choices)
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    if annotation in (int, bool):
        return ["N"] if annotation is int else ["true", "false"]
    if get_origin(annotation) is list:
        return [f"[{word},...]" for item in get_args(annotation) for word in _words(item)]
    return [word for part in get_args(annotation) for word in _words(part)]


def _wrapped(words: Iterable[str], first: str = "  ", indent: str = "  ") -> str:
    return textwrap.fill(
        " ".join(words),
        width=100,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
