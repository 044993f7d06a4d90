"""The kinds of parts that an installed package can bring, one row each. Free of torch.

To add one: a row here, and where its parts are made, ``installed.load``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of part.

    ``group``: of the entry points that packages register. ``key``: what names a part of this kind,
    or several of them. ``options``: the key below which its options stand, None where it takes none
    or has them below its name. ``given``: how many arguments it is called with before its options.
    ``ours``: the tables of our own, ``"module:NAME"``.
    """

    group: str
    key: str
    options: str | None
    given: int
    ours: tuple[str, ...]


KINDS: dict[str, Kind] = {
    "stem": Kind(
        group="node_train.stems",
        key="model.stem",
        options="model.stem_options",
        given=1,
        ours=("node_cli.models.stems:STEMS",),
    ),
    "field": Kind(
        group="node_train.fields",
        key="model.field",
        options="model.field_options",
        given=1,
        ours=("node_cli.models.fields:FIELDS",),
    ),
    "head": Kind(
        group="node_train.heads",
        key="model.head",
        options="model.head_options",
        given=2,
        ours=("node_cli.models.heads:HEADS",),
    ),
    "data": Kind(
        group="node_train.data",
        key="data.name",
        options="data.options",
        given=0,
        ours=tuple(
            f"node_cli.data.catalog:{table}"
            for table in ("IMAGES", "POINTS", "OWN", "TRAJECTORIES")
        ),
    ),
    "regulariser": Kind(
        group="node_train.regularisers",
        key="regularize",
        options=None,
        given=0,
        ours=("node_cli.regularisers.table:REGULARISERS",),
    ),
    "observer": Kind(
        group="node_train.observers",
        key="observers",
        options=None,
        given=3,
        ours=("node_cli.tasks.observers:OBSERVERS",),
    ),
}

OPTIONS = tuple(kind.options for kind in KINDS.values() if kind.options)
"""The keys below which the options of parts stand."""
