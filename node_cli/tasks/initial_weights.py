"""Weights that a training starts from, those of another run: ``init_from``."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from node_cli.config.check import checked, without_training
from node_cli.config.data import ImageData
from node_cli.config.schema import Config
from node_cli.config.tasks import SPLIT_KEYS
from node_cli.config.tree import get, show
from node_cli.errors import UserError
from node_cli.models.model import Model
from node_cli.records import checkpoints, safetensors
from node_cli.records.average_schema import trained_weights
from node_cli.records.checkpoint_schema import DoesNotFit, misfits

MOST_NAMED = 4  # weights that a line names


@dataclass(frozen=True)
class InitialWeights:
    """What a file has for a model.

    ``step``, ``began``: steps that the weights were trained for, and the configuration; None where
    the file does not say. ``weights``: those that fit, by name. ``not_taken``: why others of the
    file do not. ``drawn``: the weights of the model that the file does not give.
    """

    path: Path
    sha256: str
    step: int | None
    began: Config | None
    weights: Mapping[str, Tensor]
    not_taken: Mapping[str, str]
    drawn: tuple[str, ...]

    @classmethod
    def read(cls, location: str, model: Model, *, strict: bool) -> "InitialWeights":
        """``location``: a run folder (its best.pt), a checkpoint, or a safetensors file.

        Raises ``UserError`` where it cannot be read, and where its weights are not those of the
        model: any of them with ``strict``, else all of them.
        """
        path, step, began = checkpoints.find(location, "init_from"), None, None
        if path.suffix == safetensors.SUFFIX:
            given: Mapping[str, Tensor] = safetensors.load(path, "init_from")
        else:
            checkpoint = checkpoints.load(path, "init_from")
            try:
                given, step = trained_weights(checkpoint), checkpoint["progress"]["step"]
            except DoesNotFit as error:
                raise UserError(f"init_from={path}: damaged ({error})") from error
            began, _ = checked(without_training(checkpoint["config"]))
        expected = model.state_dict()
        not_taken = misfits(given, expected)
        weights = {name: value for name, value in given.items() if name not in not_taken}
        drawn = tuple(name for name in expected if name not in weights)
        wrong = [*not_taken.items(), *((name, "missing") for name in drawn if name not in given)]
        if wrong and (strict or not weights):
            hint = "; init_from_strict=false takes the weights that do" if weights else ""
            name, why = wrong[0]
            raise UserError(f"init_from={path}: does not fit the model ({name}: {why}){hint}")
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(path, sha256, step, began, weights, not_taken, drawn)

    def put_into(self, model: Model) -> None:
        """Give a model the weights that fit; the others stay as they are."""
        model.load_state_dict({**model.state_dict(), **self.weights})

    def record(self) -> dict[str, Any]:
        """Return plain values, for init_from.json."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "step": self.step,
            "taken": [*self.weights],
            "not_taken": {**self.not_taken},
            "drawn": [*self.drawn],
        }

    def in_words(self, config: Config) -> Iterator[str]:
        """Yield lines for the user. ``config``: that of the training."""
        after = "" if self.step is None else f", after {self.step:,} steps"
        count = len(self.weights) + len(self.drawn)
        yield f"started from {self.path}{after}: {len(self.weights)} of {count} weights taken"
        if self.not_taken:
            reasons = [f"{name} ({why})" for name, why in self.not_taken.items()]
            yield f"  not taken: {_some(reasons)}"
        if self.drawn:
            yield f"  drawn by the seed: {_some(self.drawn)}"
        if keys := _other_split(self.began, config):
            yield (
                f"  note: trained with {' '.join(keys)}; they may have been trained on images of "
                "this run's holdout, or of its test set where the seed draws that"
            )


def _other_split(began: Config | None, config: Config) -> list[str]:
    """The settings by which the same images were split otherwise, as they were."""
    if began is None or not isinstance(config.data, ImageData):
        return []
    before, now = began.model_dump(), config.model_dump()
    if get(before, "data.name") != get(now, "data.name"):
        return []
    keys = ("seed", *SPLIT_KEYS)
    return [show(before, key) for key in keys if get(before, key) != get(now, key)]


def _some(names: "list[str] | tuple[str, ...]") -> str:
    rest = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + rest
