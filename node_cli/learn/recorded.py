"""Which columns the records of a training have."""

from node_cli.config.schema import Config
from node_cli.learn.regularisation import penalties
from node_cli.records.columns import Record, columns_of_training


def recorded(config: Config, record: Record) -> tuple[str, ...]:
    """The columns of a record, with those of regularisers, ODE blocks, an average and metrics."""
    return columns_of_training(
        record,
        penalties=penalties(config),
        blocks=config.model.ode_blocks,
        averaged=config.train.ema is not None,
        metrics=config.eval.metrics,
    )
