"""Every gradient method by name: what it needs, what it reads, and what it costs. Free of torch.

A gradient method ("sensitivity method") computes dL/dtheta, dL/dy0 and, where t requires it, dL/dt
of a solve. This table is all that configuration, help, checks and documentation know of them; the
code of a method is imported when it is first built. To add one: its file, a row here, a YAML file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from node_cli.ode.solver import TOLERANCES, Engine, Keep, Kind, Method

NormName = Literal["full", "seminorm"]
"""What controls the backward step size: ``full``: the adjoint and every parameter's gradient;
``seminorm``: the adjoint (and a state that is solved with it) alone."""

GradientOf = Literal["steps", "ode"]
"""Of what the gradient is exact: the numerical solution, or the solution of the ODE (up to the
backward tolerances)."""


@dataclass(frozen=True)
class Traits:
    """What is known of a gradient method without running it.

    Attributes:
        meaning: one line, for help.
        implementation: ``"module:Class"``, imported by ``build``.
        gradient_of: ``steps`` or ``ode``.
        keeps: what the forward solve has to record for it.
        solves_backwards: whether it solves an adjoint ODE backwards, and so has a backward solver
            with tolerances of its own.
        engines: of the forward solve, with which it works.
        refused_kinds: kinds of forward solvers that it does not work with, and why not.
        solves_y_again: whether y is solved backwards too, and so may drift.
        backward_dense_output: whether the backward solver needs dense output (native engine).
        norms: those it offers for an adaptive backward solver; empty where it has no choice.
        norm: the default among them.
        memory: beyond the working set of one step, in words.
        cost: of the backward pass, in words.
        large_error: what may be behind a large error against the true gradient of the ODE.
    """

    meaning: str
    implementation: str
    gradient_of: GradientOf
    keeps: Keep
    solves_backwards: bool
    engines: tuple[Engine, ...]
    memory: str
    cost: str
    large_error: str
    refused_kinds: Mapping[Kind, str] = field(default_factory=dict)
    solves_y_again: bool = False
    backward_dense_output: bool = False
    norms: tuple[NormName, ...] = ()
    norm: NormName | None = None

    @property
    def options(self) -> frozenset[str]:
        """Names of the keys ``sensitivity.*`` that some use of the method reads, but for ``vjp``,
        which says how f is differentiated and is read with all of them."""
        backward = TOLERANCES | {"solver"} if self.solves_backwards else frozenset()
        own = {"norm": bool(self.norms), "max_drift": self.solves_y_again}
        return backward | {key for key, has in own.items() if has}

    def options_with(self, backward: Method) -> frozenset[str]:
        """Those of ``options`` that are read with this backward solver."""
        if not self.solves_backwards:
            return frozenset()
        unread = TOLERANCES - backward.options
        return self.options - unread - (frozenset() if backward.kind == "adaptive" else {"norm"})

    def build(self, **options: Any) -> Any:
        """The method itself, a ``Sensitivity``.

        ``options``: ``norm``, ``solver`` (the backward ``Solver``) and ``max_drift`` where the
        method has them; those left out or None take the method's defaults. Raises TypeError for any
        other.
        """
        module, _, name = self.implementation.partition(":")
        given = {key: value for key, value in options.items() if value is not None}
        return getattr(import_module(module), name)(**given)


_PACKAGE = "node_cli.ode.sensitivity"
_NOT_OF_THE_ODE = "it is exact for the numerical solution, which is not that of the ODE"
_LOOSE = "the tolerances, or the steps to interpolate y between, are loose"

# By the name that ``sensitivity=`` knows.
SENSITIVITIES: dict[str, Traits] = {
    "discrete": Traits(
        meaning="exact gradient of the numerical solution, through every step of the solver",
        implementation=f"{_PACKAGE}.discrete:Discrete",
        gradient_of="steps",
        keeps="stages",
        solves_backwards=False,
        engines=("native", "torchdiffeq"),
        refused_kinds={"scipy": "scipy's solution carries no gradient"},
        memory="NFE times the activations of f",
        cost="one VJP per evaluation of f that the result depends on",
        large_error=_NOT_OF_THE_ODE,
    ),
    "checkpointed": Traits(
        meaning="gradient of discrete from the accepted states alone, the stages computed again",
        implementation=f"{_PACKAGE}.discrete:Checkpointed",
        gradient_of="steps",
        keeps="states",
        solves_backwards=False,
        engines=("native",),
        memory="1 state per accepted step, and the activations of f in one step",
        cost="the stages of every accepted step again, and one VJP for each",
        large_error=_NOT_OF_THE_ODE,
    ),
    "backsolve": Traits(
        meaning="adjoint method: state and adjoint solved backwards together, in constant memory",
        implementation=f"{_PACKAGE}.backsolve:Backsolve",
        gradient_of="ode",
        keeps="nothing",
        solves_backwards=True,
        engines=("native", "torchdiffeq"),
        solves_y_again=True,
        norms=("full", "seminorm"),
        norm="full",
        memory="1 state per requested time",
        cost="one evaluation of f and one VJP per backward stage",
        large_error="y may not be recovered backwards, or the tolerances are loose",
    ),
    "interpolating": Traits(
        meaning="adjoint solved backwards alone, the state interpolated between the forward steps",
        implementation=f"{_PACKAGE}.interpolating:Interpolating",
        gradient_of="ode",
        keeps="trajectory",
        solves_backwards=True,
        engines=("native",),
        norms=("full", "seminorm"),
        norm="seminorm",
        memory="2 to 6 states per accepted step",
        cost="one evaluation of f and one VJP per backward stage",
        large_error=_LOOSE,
    ),
    "gauss": Traits(
        meaning="adjoint solved backwards alone, dL/dtheta by Gauss quadrature over each of its "
        "steps",
        implementation=f"{_PACKAGE}.gauss:Gauss",
        gradient_of="ode",
        keeps="trajectory",
        solves_backwards=True,
        engines=("native",),
        backward_dense_output=True,
        memory="2 to 6 states per accepted step; compiled, also per backward step",
        cost="one evaluation of f and one VJP (by y alone) per backward stage, and as many (by "
        "theta alone) per node of the quadrature",
        large_error=_LOOSE,
    ),
}
