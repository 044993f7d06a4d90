"""GroupNorm for any number of channels."""

from torch import nn

MOST_GROUPS = 32


def group_norm(channels: int) -> nn.GroupNorm:
    """In 32 groups, as Wu and He ("Group normalization", ECCV 2018) and Chen et al. have it; or in
    as many below as divide the channels: an augmented state may have 69."""
    groups = next(n for n in range(MOST_GROUPS, 0, -1) if channels % n == 0)
    return nn.GroupNorm(groups, channels)
