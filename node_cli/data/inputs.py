"""What a classifier takes, and what its scores stand for: all that is needed beside its weights."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from node_cli.config.data import ImageData
from node_cli.data.catalog import Images
from node_cli.data.images import ImageSet, mean_and_std


@dataclass(frozen=True)
class Inputs:
    """``shape``: [C, H, W] of an image. ``mean``, ``std``: of pixels in [0, 1], by which each
    channel is normalised, None where it is not. ``names``: of the classes, one for each score."""

    shape: Sequence[int]
    mean: Sequence[float] | None
    std: Sequence[float] | None
    names: Sequence[str]

    def plain(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {k: [*v] if v is not None else None for k, v in asdict(self).items()}


def inputs_of(config: ImageData, known: Images, train: ImageSet | None) -> Inputs:
    """Those of a set of which this much is known. ``train``: the images that are learned from, to
    compute a mean that is not known. Cost: of these a look at every pixel."""
    mean, std = known.mean, known.std
    if not config.normalize:
        mean = std = None
    elif mean is None:
        assert train is not None
        mean, std = mean_and_std(train.pixels)
    return Inputs(known.shape, mean, std, known.names)
