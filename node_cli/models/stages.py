"""Stages: what leads from one number of channels and one resolution to the next, between cores."""

from torch import Tensor, nn

from node_cli.config.model import Stage
from node_cli.errors import UserError
from node_cli.models.shape import Shape, output_shape


class Residual(nn.Module):
    """ReLU of a shortcut, by a 1x1 convolution and BatchNorm where shapes differ, plus conv,
    BatchNorm, ReLU, conv, BatchNorm: the basic block of ResNet18 (He et al. 2016)."""

    def __init__(self, given: int, channels: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(given, channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Sequential()
        if given != channels or stride != 1:
            self.shortcut.append(nn.Conv2d(given, channels, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, y: Tensor) -> Tensor:
        sums: Tensor = self.branch(y) + self.shortcut(y)
        return sums.relu()


class Stitch(nn.Module):
    """A 1x1 convolution plus conv, ReLU, BatchNorm, conv, ReLU (Queiruga, Erichson, Taylor and
    Mahoney, "Continuous-in-depth neural networks", 2020)."""

    def __init__(self, given: int, channels: int, stride: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(given, channels, 1, stride=stride, bias=False)
        self.branch = nn.Sequential(
            nn.Conv2d(given, channels, 3, stride=stride, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, y: Tensor) -> Tensor:
        sums: Tensor = self.shortcut(y) + self.branch(y)
        return sums


def entry(number: int, stage: Stage, state: Shape) -> tuple[list[nn.Module], Shape]:
    """What stands before the blocks of a stage, and the shape that it gives them.

    ``number``: of the stage, from 0. ``state``: the shape that the stage is given. Raises
    ``UserError`` where that is no image, and where nothing stands there but the channels change.
    """
    key = f"model.stages.{number}"
    if len(state) != 3:
        raise UserError(f"{key}: needs an image [C, H, W], but the stem gives {[*state]}")
    given, *_ = state
    sizes = (given, stage.channels, stage.stride)
    match stage.entry:
        case "residual":
            module: nn.Module = Residual(*sizes)
        case "stitch":
            module = Stitch(*sizes)
        case "conv":
            module = nn.Conv2d(given, stage.channels, 3, stride=stage.stride, padding=1)
        case "none":
            if (stage.channels, stage.stride) != (given, 1):
                raise UserError(
                    f"{key}.entry=none: leads from {given} to {given} channels with stride 1; "
                    "choose from conv, residual, stitch"
                )
            return [], state
    return [module], output_shape(module, state)
