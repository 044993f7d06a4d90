"""Every data set that ``data=`` can name: a row here, a file in ``conf/data``. Free of torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Images:
    """What is known of a set of images without reading it.

    ``mean``, ``std``: of the training pixels (digits: of all 1,797 images) in [0, 1], per channel.
    ``torchvision``: the name of its class there, None where scikit-learn has the images;
    ``folder``: where that class keeps its files. ``shape``: [C, H, W]. ``flips``: whether a
    mirrored image still shows the same class.
    """

    mean: Sequence[float]
    std: Sequence[float]
    train_images: int
    torchvision: str | None = None
    folder: str = ""
    shape: tuple[int, int, int] = (1, 28, 28)
    flips: bool = False
    classes: int = 10


IMAGES = {
    "digits": Images([0.3053], [0.3247], 1_438),
    "mnist": Images([0.1307], [0.3081], 60_000, "MNIST", "MNIST"),
    "fashion_mnist": Images([0.2860], [0.3530], 60_000, "FashionMNIST", "FashionMNIST"),
    "kmnist": Images([0.1918], [0.3483], 60_000, "KMNIST", "KMNIST"),
    "cifar10": Images(
        [0.4914, 0.4822, 0.4465],
        [0.2470, 0.2435, 0.2616],
        50_000,
        "CIFAR10",
        "cifar-10-batches-py",
        shape=(3, 32, 32),
        flips=True,
    ),
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
