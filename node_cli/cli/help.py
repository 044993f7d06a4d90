"""The text of ``node-train --help``."""

import textwrap
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from node_cli.config.schema import Config, section_type
from node_cli.config.section import Section

TEXT = """\
node-train: train and evaluate image classifiers whose middle is an ODE block.

Usage: node-train [-m] [key=value | group=choice ...]
       node-train table=TABLE [key=value ...]
       node-train resume=FOLDER
       node-train report=FOLDER

Groups
{groups}

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
  node-train model=conv model.core=none data=mnist      the control: stem and head alone
  node-train -m solver.tol=1e-2,1e-3,1e-4 seed=0,1,2    a sweep, and its summary table
  node-train experiment=lux_mnist                       a published system, its numbers beside ours
  node-train table=lux_mnist                            a published table: its rows, its seeds
  node-train report=outputs                             RESULTS.md of the sweeps in a folder
  node-train task=eval checkpoint=RUN solver.tol=1e-6   a trained network under another solver
  node-train task=check_gradients solver.tol=1e-5       every gradient method against a reference
  node-train resume=RUN                                 go on after an interruption

Flags
  -m, --multirun       run every combination of the comma-separated values
  --cfg job            show the configuration instead of running
  --info defaults      show where each part of it comes from
  --config-dir DIR     also look for configuration files in DIR
  -sc install=bash     tab completion: eval "$(node-train -sc install=bash)" (also zsh, fish)
  --version, --help
"""


def help_text(conf: Path) -> str:
    """The help, with the choices that the folder ``conf`` holds."""
    groups = {
        folder.name: sorted(f.stem for f in folder.glob("*.yaml") if not f.stem.startswith("_"))
        for folder in sorted(conf.iterdir())
        if folder.is_dir()
    }
    width = max(map(len, groups))
    return TEXT.format(
        groups="\n".join(
            _wrapped(names, f"  {name:<{width}}  ", " " * (width + 4))
            for name, names in groups.items()
        ),
        keys="\n".join(_keys()),
    )


def _keys() -> list[str]:
    """The root keys, then those of each section, from the schema."""
    sections = {name: schema for name in Config.model_fields if (schema := section_type(name))}
    root = _values(Config)
    lines = [_wrapped([key + value for key, value in root.items() if key not in sections])]
    for section, schema in sections.items():
        values = _values(schema)
        lines.append(_wrapped([f"{section}.{k}{v}" for k, v in values.items() if k != "name"]))
    return lines


def _values(schema: type[Section]) -> dict[str, str]:
    """For each key, ``=a|b`` where its values are a few words, ``=N`` where they are whole numbers;
    empty for the others."""
    words = {key: "|".join(_words(field.annotation)) for key, field in schema.model_fields.items()}
    return {key: f"={choices}" if choices else "" for key, choices in words.items()}


def _words(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    if annotation in (int, bool):
        return ["N"] if annotation is int else ["true", "false"]
    if get_origin(annotation) is list:
        return [f"[{word},...]" for item in get_args(annotation) for word in _words(item)]
    return [word for part in get_args(annotation) for word in _words(part)]


def _wrapped(words: list[str], first: str = "  ", indent: str = "  ") -> str:
    return textwrap.fill(
        " ".join(words),
        width=100,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
