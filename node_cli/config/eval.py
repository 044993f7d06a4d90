"""The keys of ``eval``: what is evaluated, and when."""

from collections.abc import Collection
from typing import Literal

from pydantic import PositiveInt

from node_cli.config.section import Section, drop_unused
from node_cli.config.tree import Tree, get, show


class EvalConfig(Section):
    """``every_steps``: evaluate after so many steps, from ``from_step`` on, beside the epochs'
    ends. ``train``: the images to evaluate of the training set, in batches. ``batch_norm``: the
    statistics of an f with BatchNorm inside. ``metrics``: beside loss and accuracy."""

    batch_size: PositiveInt
    every_steps: PositiveInt | None = None
    from_step: PositiveInt | None = None
    initial: bool
    test: Literal["always", "end"]
    train: Literal["none", "all"] | PositiveInt
    batch_norm: Literal["per_time", "running"] | None = None
    metrics: list[Literal["top_k", "confusion", "calibration_error"]]
    top_k: PositiveInt | None = None


def unused_top_k(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    """The k of a metric that was not chosen."""
    chosen = get(tree, "eval.metrics")
    if not isinstance(chosen, list) or "top_k" in chosen:
        return {}
    takes = [key for key in EvalConfig.takes() if key != "top_k"]
    by = show(tree, "eval.metrics")
    return drop_unused(tree, typed, "eval", ["top_k"], by=by, takes=takes, spare=["top_k"])


def missing_top_k(tree: Tree) -> list[str]:
    """A metric without its option."""
    chosen = get(tree, "eval.metrics")
    if isinstance(chosen, list) and "top_k" in chosen and get(tree, "eval.top_k") is None:
        return ["eval.top_k: eval.metrics=top_k needs it"]
    return []


def unused_batch_norm(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    """The statistics of BatchNorm inside f, where nothing is integrated."""
    core = get(tree, "model.core")
    if core not in ("residual", "plain", "none"):
        return {}
    takes = [key for key in EvalConfig.takes() if key != "batch_norm"]
    by = f"model.core={core}"
    return drop_unused(
        tree, typed, "eval", ["batch_norm"], by=by, takes=takes, spare=["batch_norm"]
    )


def unused_first_step(tree: Tree, typed: Collection[str]) -> dict[str, str]:
    """A first step to evaluate after, where there is no other."""
    if get(tree, "eval.from_step") is None or get(tree, "eval.every_steps") is not None:
        return {}
    takes = [key for key in EvalConfig.takes() if key != "from_step"]
    by = "eval.every_steps=null"
    return drop_unused(tree, typed, "eval", ["from_step"], by=by, takes=takes)
