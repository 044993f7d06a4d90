"""A trained classifier as a module: images of any size in, probabilities out."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

import torch
from torch import Tensor, nn

from node_cli.config.schema import Config
from node_cli.data.inputs import Inputs
from node_cli.models.blocks import Chain, ODEBlock
from node_cli.models.classifier import Classifier
from node_cli.trained.pixels import ImagesLike, pixels_of


class TrainedModel(nn.Module):
    """A classifier with what it was trained with: the size of its images, their mean and standard
    deviation, the names of the classes, the solver. ``load`` makes one.

    It is in evaluation mode, and its weights are constants; images may require a gradient. With an
    adaptive solver the steps, and so, within the tolerance, the probabilities of an image depend on
    the other images of the batch.

    Attributes:
        classes: their names, in the order of the probabilities.
        shape: [C, H, W], to which images are brought.
        config: the configuration of the training.
        classifier: the model itself, from normalised images to logits.
        nfe: evaluations of f by the last call; None without an ODE, and before the first call.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, config: Config, classifier: Classifier, inputs: Inputs) -> None:
        super().__init__()
        self.config = config
        self.classifier = classifier.requires_grad_(False)
        self.inputs = inputs
        self.classes = [*inputs.names]
        self.shape = [*inputs.shape]
        self.nfe: int | None = None
        self._kept = ExitStack()
        mean = torch.tensor(inputs.mean or [0.0], dtype=torch.float64).view(-1, 1, 1)
        std = torch.tensor(inputs.std or [1.0], dtype=torch.float64).view(-1, 1, 1)
        dtype = next(classifier.parameters()).dtype
        self.register_buffer("scale", (1 / (255 * std)).to(dtype))
        self.register_buffer("shift", (-mean / std).to(dtype))
        self.eval()

    def keep(self, context: AbstractContextManager[object]) -> None:
        """Stay within a context for good."""
        self._kept.enter_context(context)

    def forward(self, images: ImagesLike) -> Tensor:
        """Probabilities [N, classes] of images, as ``pixels_of`` takes them.

        Raises ``SolveFailed``, and what ``pixels_of`` raises.
        """
        with self._autocast():
            logits = self.classifier(self.normalised(images))
        self._count()
        probabilities: Tensor = logits.to(self.scale.dtype).softmax(1)
        return probabilities

    def predict(self, images: ImagesLike) -> list[str]:
        """The name of the most probable class of each image."""
        with torch.no_grad():
            best: list[int] = self(images).argmax(1).tolist()
        return [self.classes[i] for i in best]

    def trajectory(
        self, images: ImagesLike, t: Sequence[float] | Tensor, block: int | None = None
    ) -> Tensor:
        """The states [T, N, *state] inside an ODE block at the times t (T,).

        Args:
            t: strictly monotonic, in the direction of the block, whose interval is that of
                ``classifier.ode_blocks[i]``, ``t0`` to ``t1``; beyond its end too.
            block: which one, from 0 on; None: the only one.

        The solver lands on each of these times, so that its steps are others than those of a call;
        fixed steps are cut anew in each interval. Raises ``SolveFailed``; ValueError where the
        model has no such block, and for times that are none.
        """
        blocks = self.classifier.ode_blocks
        number = 0 if block is None else block
        if not 0 <= number < len(blocks) or (block is None and len(blocks) > 1):
            count = f"{len(blocks)} ODE block{'s' * (len(blocks) != 1)}"
            raise ValueError(f"block={block}: the model has {count}, counted from 0")
        times = [float(x) for x in t]
        t0 = blocks[number].t0
        begins = times[:1] == [t0]
        grid = torch.tensor([*([] if begins else [t0]), *times], dtype=torch.float64)
        with self._autocast():
            y = self._state_before(blocks[number], self.normalised(images))
            states = blocks[number].at(y.to(self.scale.dtype), grid)
        self._count()
        return states if begins else states[1:]

    def normalised(self, images: ImagesLike) -> Tensor:
        """What ``classifier`` takes, [N, C, H, W] on its device."""
        pixels = pixels_of(images, self.shape).to(self.scale.device, self.scale.dtype)
        return pixels * self.scale + self.shift

    def _state_before(self, block: ODEBlock, images: Tensor) -> Tensor:
        y: Tensor = self.classifier.stem(images)
        core = self.classifier.core
        for part in core if isinstance(core, Chain) else (core,):
            if part is block:
                break
            y = part(y)
        return y

    def _autocast(self) -> torch.autocast:
        enabled = self.config.precision == "bf16"
        return torch.autocast(self.scale.device.type, dtype=torch.bfloat16, enabled=enabled)

    def _count(self) -> None:
        work = self.classifier.take_work()
        self.nfe = work.nfe_forward if work else None
