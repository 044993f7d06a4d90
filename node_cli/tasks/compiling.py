"""Whether a run is compiled: what ``compile`` asks for."""

from node_cli.config import parts
from node_cli.config.data import ImageData
from node_cli.config.rules import can_compile
from node_cli.config.schema import Config
from node_cli.data import sources
from node_cli.machine.device import Backend
from node_cli.ode.engines.compiled.field import FEWEST_STEPS
from node_cli.parts.kinds import KINDS
from node_cli.parts.ours import ours
from node_cli.tasks.steps import steps_of


def choose(config: Config, backend: Backend, kept: bool | None) -> bool:
    """Whether ``compile`` asks for a compiled model.

    ``auto`` compiles a training of at least ``FEWEST_STEPS`` where ``compile=true`` works. That
    depends on the configuration and the kind of device, never on what is kept of earlier
    compilations, since compiled and eager steps differ in their last digits. ``kept``: whether a
    run that goes on is compiled; ``auto`` leaves it so, with other ``epochs`` too. Raises
    ``UserError`` where the data is missing.
    """
    if config.compile != "auto":
        return config.compile
    if kept is not None:
        return kept
    steps = steps_of(config)
    return (
        steps is not None
        and steps >= FEWEST_STEPS
        and backend.device.type != "mps"
        and can_compile(config)
        and _is_all_ours(config)
        and _fills_a_batch(config)
    )


def images_of_a_step(config: Config) -> int:
    """How many images a compiled step takes; smaller batches are computed without."""
    return config.batch_size // config.train.accumulate


def _is_all_ours(config: Config) -> bool:
    """Whether no part of the model is of an installed package, which torch may not be able to
    compile."""
    tree = config.model_dump()
    return all(
        name in ours(kind)
        for kind in ("stem", "field", "head")
        for name in parts.names_of(tree, KINDS[kind])
    )


def _fills_a_batch(config: Config) -> bool:
    if not isinstance(config.data, ImageData):
        return True
    return sources.check(config.data) >= images_of_a_step(config)
