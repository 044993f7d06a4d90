"""Every regulariser by name: what it measures, what it needs, and what it costs. Free of torch.

This table is all that configuration, help, checks and documentation know of them; the code is
imported when it is first built. To add one: its class, a row here, a YAML file.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from node_cli.ode.tableau import Tableau
from node_cli.regularisers.options import Options, Steer, Taylor, Weighted

Estimate = Literal["error", "stiffness"]


@dataclass(frozen=True)
class Traits:
    """What is known of a regulariser without running it.

    Attributes:
        meaning: one line, for help.
        implementation: ``"module:Class"``, imported by ``build``.
        options: their types.
        source: where it was published.
        cost: of a training step, in words.
        estimate: what it reads of a step of the solver, which not every method has.
        of_steps: whether it needs the accepted steps of the forward solve, and so a gradient method
            that differentiates them.
        differentiates_f: whether it evaluates derivatives of f, which are then differentiated.
        forward_mode: whether these are Jacobian-vector products, which torch does not have of an f
            that changes a buffer, as BatchNorm does.
        compiles: whether it works with ``compile=true``.
        ends: whether it moves the end of the interval, where a trajectory has data.
    """

    meaning: str
    implementation: str
    options: type[Options]
    source: str
    cost: str
    estimate: Estimate | None = None
    of_steps: bool = False
    differentiates_f: bool = False
    forward_mode: bool = False
    compiles: bool = False
    ends: bool = False

    def build(self, options: Options) -> Any:
        """The regulariser itself, a ``Regulariser``. Raises what its class does."""
        module, _, name = self.implementation.partition(":")
        return getattr(import_module(module), name)(**options.own())


def has(estimate: Estimate, tableau: Tableau) -> bool:
    """Whether steps of this method have such an estimate."""
    if estimate == "error":
        return tableau.adaptive
    return tableau.stages_at_one_time is not None


_PACKAGE = "node_cli.regularisers"
_PAL_2021 = (
    'Pal, Ma, Shah and Rackauckas, "Opening the blackbox: accelerating neural differential '
    'equations by regularizing internal solver heuristics", ICML 2021'
)
_PAL_2023 = (
    'Pal, Edelman and Rackauckas, "Locally regularized neural differential equations: some black '
    'boxes were meant to remain closed!", ICML 2023'
)
_FINLAY = (
    'Finlay, Jacobsen, Nurbekyan and Oberman, "How to train your neural ODE: the world of Jacobian '
    'and kinetic regularization", ICML 2020'
)

# By the name that ``regularize=`` knows.
REGULARISERS: dict[str, Traits] = {
    "error": Traits(
        "the solver's estimates of the error of its steps, times their lengths",
        implementation=f"{_PACKAGE}.of_steps:Error",
        options=Weighted,
        source=f"{_PAL_2021} (ERNODE)",
        cost="no evaluation of f; one VJP",
        estimate="error",
        of_steps=True,
    ),
    "stiffness": Traits(
        "the solver's estimates of the stiffness at its steps",
        implementation=f"{_PACKAGE}.of_steps:Stiffness",
        options=Weighted,
        source=f"{_PAL_2021} (SRNODE)",
        cost="no evaluation of f; one VJP",
        estimate="stiffness",
        of_steps=True,
    ),
    "local": Traits(
        "the estimated error of one further step from a random time",
        implementation=f"{_PACKAGE}.local:Local",
        options=Weighted,
        source=f"{_PAL_2023} (unbiased sampling)",
        cost="the stages of two to five steps, the VJPs of one, and what it takes to land on the "
        "time",
        estimate="error",
    ),
    "local_biased": Traits(
        "the estimated error of one of the solver's steps, drawn at random",
        implementation=f"{_PACKAGE}.of_steps:LocalBiased",
        options=Weighted,
        source=f"{_PAL_2023} (biased sampling)",
        cost="no evaluation of f; one VJP",
        estimate="error",
        of_steps=True,
    ),
    "kinetic": Traits(
        "the kinetic energy, the integral of |f|^2",
        implementation=f"{_PACKAGE}.integrals:Kinetic",
        options=Weighted,
        source=f"{_FINLAY} (RNODE)",
        cost="one more coordinate of the ODE",
    ),
    "jacobian": Traits(
        "the integral of |v^T df/dy|^2, v drawn once for a solve",
        implementation=f"{_PACKAGE}.integrals:Jacobian",
        options=Weighted,
        source=f"{_FINLAY} (RNODE)",
        cost="one VJP with each evaluation of f, which is differentiated again",
        differentiates_f=True,
    ),
    "taylor": Traits(
        "the integral of |d^K y/dt^K|^2, K = 2 or 3",
        implementation=f"{_PACKAGE}.integrals:Taylor",
        options=Taylor,
        source='Kelly, Bettencourt, Johnson and Duvenaud, "Learning differential equations that '
        'are easy to solve", NeurIPS 2020 (TayNODE)',
        cost="K - 1 nested Jacobian-vector products with each evaluation of f, which are "
        "differentiated again",
        differentiates_f=True,
        forward_mode=True,
    ),
    "steer": Traits(
        "the end of the interval drawn at random; evaluation keeps the interval",
        implementation=f"{_PACKAGE}.steer:Steer",
        options=Steer,
        source='Ghosh, Behl, Dupont, Torr and Namboodiri, "STEER: simple temporal regularization '
        'for neural ODEs", NeurIPS 2020',
        cost="none, but for an interval that is now longer, now shorter",
        compiles=True,
        ends=True,
    ),
    "decay": Traits(
        "half the squared norm of the parameters of f alone",
        implementation=f"{_PACKAGE}.decay:Decay",
        options=Weighted,
        source='Krogh and Hertz, "A simple weight decay can improve generalization", NIPS 1991',
        cost="none",
        compiles=True,
    ),
}
