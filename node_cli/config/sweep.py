"""The keys of ``sweep``: how the jobs of a sweep hang together."""

from node_cli.config.section import Section


class SweepConfig(Section):
    """``fail_fast``: no further job starts once one has failed."""

    fail_fast: bool
