"""The optimizers: the options of each, named as torch.optim names them.

To add one: a class here, its place in ``OptimizerConfig``, a file in ``conf/optimizer``.
"""

from typing import Annotated, Any, ClassVar

from pydantic import Field, PositiveFloat

from node_cli.config.section import Section, Variants
from node_cli.config.tree import Tree, get, show

# Learning rates and decays below it never overflow in float32, however they are multiplied.
LARGEST_RATE = 1e9
Rate = Annotated[float, Field(gt=0, le=LARGEST_RATE)]
Decay = Annotated[float, Field(ge=0, le=LARGEST_RATE)]


class Optimizer(Section):
    """``class_name``: the class in torch.optim. ``grad_clip``: the largest norm of the gradient of
    all parameters together."""

    class_name: ClassVar[str]

    name: str
    lr: Rate
    weight_decay: Decay
    grad_clip: PositiveFloat | None = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of that class, beside the parameters; null ones take torch's defaults.

        Fused: one kernel for all parameters, which of a small model takes a tenth of the time.
        """
        given = self.model_dump(exclude={"name", "grad_clip"}, exclude_none=True)
        return given | {"fused": True}


class Adam(Optimizer):
    """Adam, the decay added to the gradient."""

    chosen_by: ClassVar = {"name": ["adam"]}
    class_name: ClassVar = "Adam"


class AdamW(Optimizer):
    """Adam, the decay decoupled from the gradient."""

    chosen_by: ClassVar = {"name": ["adamw"]}
    class_name: ClassVar = "AdamW"


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    ``nesterov``: Nesterov's momentum (Sutskever et al., ICML 2013)."""

    chosen_by: ClassVar = {"name": ["sgd"]}
    class_name: ClassVar = "SGD"
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    nesterov: bool


OptimizerConfig = Annotated[Adam | AdamW | SGD, Variants()]


def impossible(tree: Tree) -> list[str]:
    """Nesterov's momentum without any."""
    if get(tree, "optimizer.nesterov") is not True or get(tree, "optimizer.momentum"):
        return []
    momentum = show(tree, "optimizer.momentum")
    return [f"optimizer.nesterov=true: needs momentum, but {momentum}; give optimizer.momentum=0.9"]
