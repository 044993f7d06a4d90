"""States that the shipped fields work on."""

from node_cli.models.shape import Shape

VECTORS = ("dense", "dense_relu", "dense_time", "linear", "mlp", "mlp_tanh")

# Those that grow with the state, so that a solution may blow up.
UNBOUNDED = ("dense_relu", "linear", "mlp", "filters_time")

# Those with statistics of their own, which cannot be compiled as part of a solve.
WITH_BUFFERS = ("conv_bn_time", "conv_bn", "basic_block")


def state(field: str) -> Shape:
    return (20,) if field in VECTORS else (8, 4, 4)
