"""Every data set that ``data=`` can name: a row here, a file in ``conf/data``. Free of torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from node_cli.data import names

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Split:
    """One of several ways in which a data set is published. ``names``: of its classes.
    ``first_label``: of the files."""

    train_images: int
    names: Sequence[str]
    first_label: int = 0


@dataclass(frozen=True)
class Images:
    """What is known of a set of images without reading it.

    ``mean``, ``std``: of the training pixels (digits: of all 1,797 images) in [0, 1], per channel;
    None where they are to be computed. ``torchvision``: the name of its class there, None where
    scikit-learn has the images; ``folder``: where that class keeps its files; ``parts``: its
    arguments for training and test images. ``shape``: [C, H, W]. ``flips``: whether a mirrored
    image still shows the same class. ``names``: of the classes, in the order of the labels.
    ``transposed``: whether the files have rows for columns.
    ``splits``: the choices of ``data.split``, the first of which has the numbers of this row.
    """

    mean: Sequence[float] | None
    std: Sequence[float] | None
    train_images: int
    torchvision: str | None = None
    folder: str = ""
    shape: tuple[int, ...] = (1, 28, 28)
    flips: bool = False
    names: Sequence[str] = names.DIGITS
    first_label: int = 0
    transposed: bool = False
    parts: tuple[Mapping[str, object], Mapping[str, object]] = ({"train": True}, {"train": False})
    splits: Mapping[str, Split] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.names)


BY_SPLIT: tuple[Mapping[str, object], Mapping[str, object]] = (
    {"split": "train"},
    {"split": "test"},
)

IMAGES = {
    "digits": Images([0.3053], [0.3247], 1_438),
    "mnist": Images([0.1307], [0.3081], 60_000, "MNIST", "MNIST"),
    "fashion_mnist": Images(
        [0.2860], [0.3530], 60_000, "FashionMNIST", "FashionMNIST", names=names.FASHION
    ),
    "kmnist": Images([0.1918], [0.3483], 60_000, "KMNIST", "KMNIST", names=names.KUZUSHIJI),
    "qmnist": Images(None, None, 60_000, "QMNIST", "QMNIST"),
    "emnist": Images(
        *(None, None, 112_800, "EMNIST", "EMNIST"),
        names=names.DIGITS + names.MERGED,
        transposed=True,
        splits={
            "balanced": Split(112_800, names.DIGITS + names.MERGED),
            "byclass": Split(697_932, names.DIGITS + names.LETTERS),
            "bymerge": Split(697_932, names.DIGITS + names.MERGED),
            "letters": Split(124_800, names.SMALL_LETTERS, first_label=1),
            "digits": Split(240_000, names.DIGITS),
            "mnist": Split(60_000, names.DIGITS),
        },
    ),
    "cifar10": Images(
        [0.4914, 0.4822, 0.4465],
        [0.2470, 0.2435, 0.2616],
        50_000,
        "CIFAR10",
        "cifar-10-batches-py",
        shape=(3, 32, 32),
        flips=True,
        names=names.CIFAR10,
    ),
    "cifar100": Images(
        *(None, None, 50_000, "CIFAR100", "cifar-100-python", (3, 32, 32)),
        flips=True,
        names=names.CIFAR100,
    ),
    "svhn": Images(None, None, 73_257, "SVHN", "", (3, 32, 32), parts=BY_SPLIT),
    "stl10": Images(
        *(None, None, 5_000, "STL10", "stl10_binary", (3, 96, 96)),
        flips=True,
        names=names.STL10,
        parts=BY_SPLIT,
    ),
}

# Points in the plane, drawn by the seed: each of 1,000 training and 1,000 test points is an image
# of one row of two pixels.
PLANE = (1, 1, 2)
POINTS = {
    "moons": Images([0.0], [1.0], 1_000, shape=PLANE, names=names.DIGITS[:2]),
    "circles": Images([0.0], [1.0], 1_000, shape=PLANE, names=names.DIGITS[:2]),
    "spirals2d": Images([0.0], [1.0], 1_000, shape=PLANE, names=names.DIGITS[:2]),
}

# Sets of the user's own, by what ``data.root`` names.
OWN = {
    "folder": "a folder with the images of each class in train/CLASS and test/CLASS",
    "arrays": "an .npz file of images and labels",
}


def linear(t: "Tensor", y: "Tensor") -> "Tensor":
    """A y, a spiral into the origin; y: [2]."""
    return _matrix(y, -0.1, -1.0, 1.0, -0.1) @ y


def nonlinear(t: "Tensor", y: "Tensor") -> "Tensor":
    """A spiral about each of two points, x0 and -x0; y: [2].

    Where s = y . x0 is large the field is A (y - x0), where it is small B (y + x0), in between
    their mean weighted by sigmoid(s).
    """
    x0 = y.new_tensor([-1.0, 0.0])
    near = (y @ x0).sigmoid()
    first = _matrix(y, -0.1, -0.5, 0.5, -0.1) @ (y - x0)
    second = _matrix(y, 0.2, 1.0, -1.0, 0.2) @ (y + x0)
    return near * first + (1 - near) * second


def _matrix(like: "Tensor", *entries: float) -> "Tensor":
    return like.new_tensor(entries).view(2, 2)


# The trajectories to fit: solutions of dy/dt = f(t, y), by the name of f.
TRAJECTORIES: "dict[str, Callable[[Tensor, Tensor], Tensor]]" = {
    "spiral_linear": linear,
    "spiral_nonlinear": nonlinear,
}
