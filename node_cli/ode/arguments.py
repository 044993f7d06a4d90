"""What the arguments of torchdiffeq's functions mean here: a solver, a norm, a gradient method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor

from node_cli.ode.norms import Norm, rms_norm
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.sensitivity.methods import SENSITIVITIES, NormName
from node_cli.ode.solver import METHODS, SCIPY_METHODS, STEPS, TOLERANCES, Controller, Solver

Shapes = Sequence[torch.Size]
"""Of the tensors of a tuple."""

# torchdiffeq's defaults.
RTOL, ATOL = 1e-7, 1e-9

# torchdiffeq's names of what has another one here.
SCIPY = "scipy_solver"
NAMES = {"max_num_steps": "max_steps", "solver": "scipy_method"}

# Why an option of torchdiffeq is not there.
ABSENT = {
    "step_t": "every time in t is landed on; put these times into t",
    "interp": "every time in t is landed on, and nothing is interpolated",
    "grid_constructor": "give step_size or n_steps, or the points of the grid as t",
    "perturb": "give the times at which func jumps as jump_t",
    "dtype": "time is float64",
    **dict.fromkeys(
        ("min_step", "max_step", "safety", "ifactor", "dfactor"), "the step control is fixed"
    ),
}

# Methods of func that torchdiffeq calls on the way.
CALLBACKS = [
    f"callback_{what}{of}"
    for of in ("", "_adjoint")
    for what in ("step", "accept_step", "reject_step")
]

# Options that are positive numbers, and those that are one of several names.
NUMBERS: dict[str, type[int] | type[float]] = {
    **dict.fromkeys(("rtol", "atol", "step_size", "first_step"), float),
    **dict.fromkeys(("n_steps", "max_steps", "max_nfe", "max_order"), int),
}
CHOICES = {"controller": get_args(Controller), "scipy_method": SCIPY_METHODS}


def refuse_absent(func: object, event_fn: object) -> None:
    """Raise NotImplementedError for what torchdiffeq has and this package has not."""
    callbacks = [f"func.{name}" for name in CALLBACKS if hasattr(func, name)]
    for name in (["event_fn"] if event_fn is not None else []) + callbacks:
        raise NotImplementedError(f"{name}: there is no such thing here; torchdiffeq has it")


def solver(
    method: str | None,
    rtol: Any,
    atol: Any,
    options: Mapping[str, Any] | None,
    dtype: torch.dtype,
    shapes: Shapes | None,
) -> tuple[Solver, Norm]:
    """The solver, and the norm of a state. ``dtype``: of the state; ``shapes``: where it is a
    tuple. Raises TypeError and ValueError for what they do not take."""
    name = "scipy" if method == SCIPY else method or "dopri5"
    if name not in METHODS:
        raise ValueError(f"method={method!r}: choose from {', '.join([*METHODS, SCIPY])}")
    known, given = METHODS[name], dict(options or {})
    norm = given.pop("norm", None) if known.kind == "adaptive" else None
    fields: dict[str, Any] = {}
    for key, value in given.items():
        field = NAMES.get(key, key)
        if field not in known.options - TOLERANCES:
            takes = ", ".join(sorted(known.options - TOLERANCES))
            reason = ABSENT.get(key, f"method={name} takes {takes}")
            raise ValueError(f"options[{key!r}]: {reason}")
        fields[field] = _value(f"options[{key!r}]", field, value)
    if fields.keys() >= STEPS:
        raise ValueError("options['n_steps']: not with options['step_size']")
    for key, value in (("rtol", rtol), ("atol", atol)):
        number = _value(key, key, value)
        if key in known.options:
            fields[key] = number
    if known.options & STEPS and not fields.keys() & STEPS:
        fields["n_steps"] = 1
    if name == "scipy":
        fields.setdefault("scipy_method", "LSODA")  # torchdiffeq's default
    if dtype not in (torch.float32, torch.float64):
        fields.setdefault("engine", "torchdiffeq")  # which has other numbers too
    if fields.get("engine", known.engines[0]) not in known.engines:
        raise ValueError(f"options['engine']: method={name} has {', '.join(known.engines)}")
    return Solver(name, **fields), _norm(norm, shapes)


def _value(key: str, field: str, value: Any) -> Any:
    """The value of a field of ``Solver``; ``key``: what the caller calls it."""
    if field in CHOICES and value not in CHOICES[field]:
        raise ValueError(f"{key}: choose from {', '.join(CHOICES[field])}, not {value!r}")
    if field == "jump_t":
        return tuple(torch.as_tensor(value, dtype=torch.float64).reshape(-1).tolist())
    if field not in NUMBERS:
        return value
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    kind = NUMBERS[field]
    is_number = isinstance(value, (int, kind)) and not isinstance(value, bool)
    if not is_number or not 0 < value < float("inf"):
        what = "one positive number" if kind is float else "a positive whole number"
        raise TypeError(f"{key} has to be {what}, not {value!r}")
    return kind(value)


def _norm(norm: Callable[[Any], Tensor] | None, shapes: Shapes | None) -> Norm:
    """By default the RMS, or the largest of those of a tuple's tensors. One of the caller's is made
    NaN where the state is not finite, whatever it looks at: such a step is not to be accepted."""
    if norm is None and shapes is None:
        return rms_norm

    def of_state(y: Tensor) -> Tensor:
        parts = y if shapes is None else split(y, shapes)
        if norm is None:
            return torch.stack([rms_norm(x) for x in parts]).max()
        found: Tensor = norm(parts) + 0 * torch.linalg.vector_norm(y)
        return found

    return of_state


def split(y: Tensor, shapes: Shapes) -> tuple[Tensor, ...]:
    """The tensors of a tuple from flat states, (*, n) to (*, *shape) each."""
    parts = y.split_with_sizes([shape.numel() for shape in shapes], -1)
    return tuple(x.reshape((*y.shape[:-1], *s)) for x, s in zip(parts, shapes, strict=True))


def sensitivity(
    name: str, forward: Solver, backward: tuple[Any, ...], dtype: torch.dtype
) -> Sensitivity:
    """The gradient method of that name. ``backward``: rtol, atol, method and options of its solver,
    those that are None from the ``forward`` one. Raises ValueError for what it does not read."""
    if name not in SENSITIVITIES:
        raise ValueError(f"sensitivity={name!r}: choose from {', '.join(SENSITIVITIES)}")
    traits = SENSITIVITIES[name]
    rtol, atol, method, options = backward
    given = dict(options or {})
    if not traits.solves_backwards:
        if any(x is not None for x in backward):
            raise ValueError(f"adjoint_*: sensitivity={name} solves nothing backwards")
        return traits.build()  # type: ignore[no-any-return]
    own = {key: given.pop(key) for key in ("norm", "max_drift") if key in given}
    if method is None and options is None:  # all of the forward solver's, but for its own start
        others = ("name", "first_step", "jump_t", *TOLERANCES)
        given = {k: v for k, v in vars(forward).items() if v is not None and k not in others}
    rtol = (forward.rtol or RTOL) if rtol is None else rtol
    atol = (forward.atol or ATOL) if atol is None else atol
    chosen, _ = solver(method or forward.name, rtol, atol, given, dtype, None)
    for key, value in own.items():
        if key not in traits.options_with(chosen.method):
            raise ValueError(f"adjoint_options[{key!r}]: not read by {name} with {chosen.name}")
        if key == "norm" and value not in get_args(NormName):
            raise ValueError(f"adjoint_options['norm']: choose 'full' or 'seminorm', not {value!r}")
    if chosen.jump_t not in (None, forward.jump_t):
        raise ValueError("adjoint_options['jump_t']: give it in options; it holds backwards too")
    if traits.backward_dense_output and chosen.engine != "native":
        raise ValueError(f"adjoint_method={chosen.name}: sensitivity={name} needs dense output")
    return traits.build(solver=replace(chosen, jump_t=None), **own)  # type: ignore[no-any-return]


def check_pair(name: str, forward: Solver) -> None:
    """Raise ValueError where the gradient method does not work with the solver."""
    traits = SENSITIVITIES[name]
    if reason := traits.refused_kinds.get(forward.method.kind):
        raise ValueError(f"sensitivity={name}: {reason}; take sensitivity='backsolve'")
    if forward.engine not in traits.engines:
        raise ValueError(
            f"sensitivity={name}: needs the native engine, which has Runge-Kutta methods and "
            "states of float32 and float64; take sensitivity='backsolve'"
        )
