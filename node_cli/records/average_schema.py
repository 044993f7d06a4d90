"""Whether the average of the weights in a checkpoint fits: checked before anything is loaded."""

from collections.abc import Mapping

from torch import Tensor

from node_cli.records.checkpoint_schema import Checkpoint, DoesNotFit, check_model

PARTS = ("updates", "weights")


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
    if "ema" not in checkpoint:
        raise DoesNotFit("ema: missing")
    given, steps = checkpoint["ema"], checkpoint["progress"]["step"]
    if not isinstance(given, dict) or given.keys() != {*PARTS}:
        raise DoesNotFit(f"ema: must have {', '.join(PARTS)}")
    updates, weights = (given[name] for name in PARTS)
    right = type(updates) is int and (updates == steps if every_step_updates else updates <= steps)
    if not right or updates < 0:
        raise DoesNotFit(f"ema.updates: {str(updates)[:60]}, after {steps} steps")
    if not isinstance(weights, dict):
        raise DoesNotFit("ema.weights: must be a dict")
    try:
        check_model({"model": weights}, expected, same_dtype=same_dtype)
    except DoesNotFit as error:
        raise DoesNotFit(f"ema.weights.{str(error).removeprefix('model.')}") from error
