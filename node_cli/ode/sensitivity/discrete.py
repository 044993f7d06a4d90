"""Discretise, then optimise: the exact gradient of the numerical solution."""

from dataclasses import dataclass

from torch import Tensor

from node_cli.ode.engines.engine import Engine, StepRecord
from node_cli.ode.problem import Gradients
from node_cli.ode.sensitivity.method import Sensitivity


class OfSteps(Sensitivity):
    """The gradient of the numerical solution: the adjoint of the steps that the engine recorded."""

    def gradient(self, engine: Engine, record: StepRecord, y: Tensor, grad_y: Tensor) -> Gradients:
        """See ``Sensitivity.gradient``. y, grad_y: (T, *y0.shape)."""
        return record.pull_back(grad_y)


@dataclass(frozen=True)
class Discrete(OfSteps):
    """Reverse-mode differentiation of the solver's own steps, step sizes held constant.

    Gives dL/dtheta, dL/dy0 and, when t requires grad, dL/dt of the numerical solution, exact to
    rounding at any tolerance. Memory: NFE times the activations of f. Cost: one VJP for every
    evaluation of f that the result depends on, no further evaluation. Do not use it where that
    memory does not fit, or with scipy, whose solution carries no gradient.

    With the native engine autograd sees f at most; steps are differentiated by ``step_adjoint``.
    The first backward pass frees the graphs, so that a second one (``retain_graph=True``) costs and
    counts what ``Checkpointed`` does, with the same result. With engine=torchdiffeq autograd goes
    through the solver, and second derivatives exist.

    Source: Gholami, Keutzer and Biros, "ANODE: Unconditionally accurate memory-efficient gradients
    for neural ODEs", IJCAI 2019, section 3 (the discretise-then-optimise gradient).
    """

    name = "discrete"


@dataclass(frozen=True)
class Checkpointed(OfSteps):
    """The gradient of ``Discrete``, from the accepted states alone.

    Memory: one state per accepted step, and the activations of f in one step. Cost: the stages of
    every accepted step once more, and one VJP for each; do not use it where the memory of
    ``Discrete`` fits. Needs a solver of the native engine. The gradient equals that of ``Discrete``
    to the last bit where f gives the same result twice (on a CPU, and with deterministic kernels).

    Source: Zhuang et al., "Adaptive checkpoint adjoint method for gradient estimation in neural
    ODE", ICML 2020, algorithm 2.
    """

    name = "checkpointed"
