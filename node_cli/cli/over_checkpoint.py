"""From a composed configuration and what was typed for it to the checked ``Config`` of a run."""

from collections.abc import Collection, Container

from omegaconf import DictConfig, OmegaConf

from node_cli.config import defaults
from node_cli.config.check import checked
from node_cli.config.messages import plain
from node_cli.config.schema import Config, several
from node_cli.config.section import absolute
from node_cli.config.tasks import SPLIT_KEYS, TASKS
from node_cli.config.tree import Tree, get, lay, put
from node_cli.errors import UserError

# With a checkpoint these come from the command, all else from the checkpoint.
COMMAND_KEYS = (
    *("task", "checkpoint", "images", "format", "device", "threads", "deterministic"),
    "sweep.fail_fast",
)


def plain_tree(cfg: DictConfig) -> Tree:
    """The composed configuration without Hydra's part, interpolations resolved."""
    tree = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(tree, dict)
    tree.pop("hydra", None)
    resolved = OmegaConf.to_container(OmegaConf.create(tree), resolve=True)
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def configure(
    tree: Tree, typed: Collection[str], *, elsewhere: Container[str]
) -> tuple[Config, list[str]]:
    """The checked configuration, and notes, of a composed tree.

    ``typed``: the keys and groups that the user typed. ``elsewhere``: see ``checked``.
    Raises ``UserError`` with every problem.
    """
    tree, typed = dict(tree), {key for key in typed if not key.startswith("hydra")}
    if (folder := tree.pop("resume", None)) is not None:
        raise UserError(f"resume={plain(folder)}: only on the command line")
    task = tree.get("task")
    traits = TASKS.get(task) if isinstance(task, str) else None
    if traits is None or not traits.over_checkpoint or tree.get("checkpoint") is None:
        return checked(tree, typed, elsewhere=elsewhere)
    foreign = {key for key in typed if key.split(".")[0] not in Config.model_fields}
    typed -= foreign
    problems = [
        f"{key}: not used by task={task}, the checkpoint has its configuration"
        for key in sorted(foreign)
    ]
    try:
        config, notes = checked(_over_checkpoint(tree, typed), typed, elsewhere=elsewhere)
    except UserError as error:
        problems += error.problems
    if problems:
        raise UserError(*problems)
    return config, notes


def _over_checkpoint(tree: Tree, typed: set[str]) -> Tree:
    """The configuration in the checkpoint, what the user typed laid over it.

    The same data set is split as it was for the training, so that its holdout stays one.
    """
    from node_cli.records import checkpoints

    given = tree["checkpoint"]
    try:
        location = absolute(str(given))
    except ValueError as error:
        raise UserError(f"checkpoint={plain(given)}: {error}") from error
    merged: Tree = checkpoints.load(checkpoints.find(location))["config"]
    defaults.fill(merged)
    if get(tree, "data.name") == get(merged, "data.name"):
        for key in set(SPLIT_KEYS) - typed:
            put(tree, key, get(merged, key))
    for section in several():  # as a whole, or refused by the task
        if any(key.partition(".")[0] == section for key in typed):
            merged[section] = tree.get(section, {})
    for key in (*COMMAND_KEYS, *sorted(typed)):
        section, is_inner, _ = key.partition(".")
        if section in several():
            continue
        if is_inner and merged[section] is not None:
            lay(merged, key, get(tree, key))
        else:
            merged[section] = tree[section]
    if merged["solver"] is None:  # laid over a checkpoint without an ODE
        merged["solver"] = tree["solver"]
    return merged
