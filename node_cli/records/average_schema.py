"""The average of the weights in a checkpoint: whether it fits, checked before anything is loaded,
and the weights of the trained model, which are the average where there is one."""

from collections.abc import Mapping

from torch import Tensor

from node_cli.config.tree import get
from node_cli.records.checkpoint_schema import Checkpoint, DoesNotFit, check_model

PARTS = ("updates", "weights")


def trained_weights(checkpoint: Checkpoint) -> Mapping[str, Tensor]:
    """The weights of the trained model by name: with ``train.ema`` the average, by which best.pt is
    chosen; else the weights that the training goes on with.

    They may be those of any model, see ``check_trained``. Raises ``DoesNotFit`` where there is no
    average though there must be one.
    """
    if get(checkpoint["config"], "train.ema") is None:
        weights: Mapping[str, Tensor] = checkpoint["model"]
    else:
        _check_form(checkpoint)
        weights = checkpoint["ema"]["weights"]
    return weights


def check_trained(checkpoint: Checkpoint, expected: Mapping[str, Tensor]) -> None:
    """Raise ``DoesNotFit`` unless ``trained_weights`` have these names and shapes."""
    if get(checkpoint["config"], "train.ema") is None:
        check_model(checkpoint, expected, same_dtype=False)
    else:
        check_average(checkpoint, expected, same_dtype=False)


def check_average(
    checkpoint: Checkpoint,
    expected: Mapping[str, Tensor],
    *,
    every_step_updates: bool = False,
    same_dtype: bool = True,
) -> None:
    """Raise ``DoesNotFit`` unless there is an average of weights with these names and shapes, of as
    many updates as there can have been.

    ``every_step_updates``: see ``check_optimizer``; ``same_dtype``: see ``check_model``.
    """
    _check_form(checkpoint)
    updates, weights = (checkpoint["ema"][name] for name in PARTS)
    steps = checkpoint["progress"]["step"]
    right = type(updates) is int and (updates == steps if every_step_updates else updates <= steps)
    if not right or updates < 0:
        raise DoesNotFit(f"ema.updates: {str(updates)[:60]}, after {steps} steps")
    try:
        check_model({"model": weights}, expected, same_dtype=same_dtype)
    except DoesNotFit as error:
        raise DoesNotFit(f"ema.weights.{str(error).removeprefix('model.')}") from error


def _check_form(checkpoint: Checkpoint) -> None:
    """Raise ``DoesNotFit`` unless there is an average, of tensors."""
    if "ema" not in checkpoint:
        raise DoesNotFit("ema: missing")
    given = checkpoint["ema"]
    if not isinstance(given, dict) or given.keys() != {*PARTS}:
        raise DoesNotFit(f"ema: must have {', '.join(PARTS)}")
    if not isinstance(given["weights"], dict):
        raise DoesNotFit("ema.weights: must be a dict")
    for name, value in given["weights"].items():
        if not isinstance(value, Tensor):
            raise DoesNotFit(f"ema.weights.{name}: must be a tensor")
