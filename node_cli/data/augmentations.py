"""The augmentations that ``data.augment`` can name: one row each. Free of torch.

The function of a row draws from the generator alone, which is a function of the seed and the step,
and on the CPU, so that nothing waits for the device.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Augmentation:
    """What is known of an augmentation without running it.

    ``code``: the function, ``"module:function"``, called with what it ``takes``: ``pixels`` (uint8
    [N, C, H, W]), ``images`` (the same after normalisation, floating point), or ``batches`` (images
    and labels, as probabilities [N, classes]); then a generator, and its ``options``. ``options``:
    its arguments by the keys of ``data``.
    """

    meaning: str
    code: str
    takes: Literal["pixels", "images", "batches"]
    options: Mapping[str, str] = field(default_factory=dict)


# In the order in which they are applied, whatever the order they are named in.
AUGMENTATIONS = {
    "crop": Augmentation(
        "a random crop, of the size of the image, from the image padded with zeros",
        "node_cli.data.augment_images:crop",
        "pixels",
        {"crop_padding": "padding"},
    ),
    "flip": Augmentation(
        "mirrored left to right, with probability one half",
        "node_cli.data.augment_images:flip",
        "pixels",
    ),
    "randaugment": Augmentation(
        "random operations such as a rotation or a change of contrast (Cubuk et al. 2020)",
        "node_cli.data.randaugment:randaugment",
        "pixels",
        {"randaugment_operations": "operations", "randaugment_magnitude": "magnitude"},
    ),
    "erasing": Augmentation(
        "a random rectangle set to zero (Zhong et al. 2020)",
        "node_cli.data.augment_images:erase",
        "images",
        {"erasing_probability": "probability"},
    ),
    "mixup": Augmentation(
        "each image and label mixed with another's, in one random proportion (Zhang et al. 2018)",
        "node_cli.data.mixing:mixup",
        "batches",
        {"mixup_alpha": "alpha"},
    ),
    "cutmix": Augmentation(
        "a random rectangle of another image, and its part of the label (Yun et al. 2019)",
        "node_cli.data.mixing:cutmix",
        "batches",
        {"cutmix_alpha": "alpha"},
    ),
}

OPTIONS = tuple(key for augmentation in AUGMENTATIONS.values() for key in augmentation.options)
