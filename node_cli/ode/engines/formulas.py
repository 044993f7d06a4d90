"""Arithmetic that eager steps and compiled loops share.

Written once for Python floats, as eager steps have them, and for 0-dim tensors, as a traced loop
has them, wherever that costs no speed and changes no rounding. Of a sum of slopes there are two:
what is fastest step by step is not what a compiler fuses best, and each rounds in its own way.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from node_cli.ode.tableau import Tableau

Number = TypeVar("Number", float, Tensor)


class Floats:
    """The functions of torch that step control needs, for Python floats."""

    @staticmethod
    def where(condition: bool, a: Any, b: Any) -> Any:
        return a if condition else b

    @staticmethod
    def clamp(x: float, min: float = -math.inf, max: float = math.inf) -> float:  # noqa: A002
        if x < min:
            return min
        return max if x > max else x

    @staticmethod
    def pow(x: float, exponent: float) -> float:
        return math.inf if x == 0 and exponent < 0 else math.pow(x, exponent)

    @staticmethod
    def divide(a: float, b: float) -> float:
        """a / b, NaN where b is 0."""
        return a / b if b else math.nan

    maximum = fmax = staticmethod(max)
    minimum = staticmethod(min)


def functions_for(x: float | Tensor) -> Any:
    """``torch``, or its stand-in for floats."""
    return torch if isinstance(x, Tensor) else Floats


NUMPY_FLOAT: dict[torch.dtype, type[np.floating[Any]]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
}


def just_before(t1: Number, t0: Number, dtype: torch.dtype) -> Number:
    """The number next to t1 towards t0 in the precision ``dtype``.

    There the stages with c = 1 of an adaptive method see f, as in torchdiffeq, in case f is
    discontinuous at t1.
    """
    if isinstance(t1, Tensor):
        return torch.nextafter(t1.to(dtype), t0.to(dtype))
    kind = NUMPY_FLOAT[dtype]
    return float(np.nextafter(kind(t1), kind(t0)))


def stage_times(tableau: Tableau, t0: Number, t1: Number, dtype: torch.dtype) -> list[Number]:
    """Where the stages of a step from t0 to t1 see f, from the second one on.

    ``dtype``: that of the state. A float or a float64 tensor each, but that of ``just_before``.
    """
    dt = t1 - t0
    if not tableau.adaptive:
        return [t0 + c * dt for c in tableau.c[1:]]
    before = just_before(t1, t0, dtype)
    return [before if c == 1 else t0 + c * dt for c in tableau.c[1:]]


def weighted_sum(y: Tensor, weights: Iterable[float], terms: Iterable[Tensor]) -> Tensor:
    """y plus the weighted terms, a new tensor, by operations in place; for eager steps.

    Terms of weight zero are not read. The twin of ``traced_sum``.
    """
    result = None
    for weight, term in zip(weights, terms, strict=False):
        if weight == 0:
            continue
        if result is None:
            result = torch.add(y, term, alpha=weight)
        else:
            result.add_(term, alpha=weight)
    return y.clone() if result is None else result


def traced_sum(y: Tensor, weights: Sequence[float], slopes: Sequence[Tensor], dt: Tensor) -> Tensor:
    """y plus dt times the weighted slopes; for compiled loops, which fuse it.

    ``dt``: 0-dim, in the dtype of y. The twin of ``weighted_sum``, which rounds otherwise: there dt
    times the weight is a float.
    """
    for weight, k in zip(weights, slopes, strict=False):
        if weight:
            y = y + (dt * weight) * k
    return y


def dense_weights(x: Any, fractions: Sequence[float]) -> list[Any]:
    """Weights of y0, y1, dt f0, dt f1 and y at the interior fractions, at the fraction x of a step.

    x: a float or a 0-dim tensor, as are the weights. Without interior values: cubic Hermite
    interpolation (Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", 2nd ed.,
    sec. II.6, eq. (6.7)). With them: the cubic, corrected to meet y_j at theta_j,

        y(x) = cubic(x) + sum_j bump_j(x) (y_j - cubic(theta_j)),
        bump_j(x) = L_j(x) x^2 (1 - x)^2 / (theta_j^2 (1 - theta_j)^2),

    L_j the Lagrange polynomials over the thetas: the one polynomial of degree 3 + their number that
    meets all of it.
    """
    weights, bumps = _cubic(x), []
    for j, theta in enumerate(fractions):
        others = [*fractions[:j], *fractions[j + 1 :]]
        scale = 1 / (theta**2 * (1 - theta) ** 2)
        for other in others:
            scale /= theta - other
        bump = scale * x**2 * (1 - x) ** 2
        for other in others:
            bump = bump * (x - other)
        weights = [w - bump * m for w, m in zip(weights, _cubic(theta), strict=True)]
        bumps.append(bump)
    return [*weights, *bumps]


def _cubic(x: Any) -> list[Any]:
    return [
        (1 + 2 * x) * (1 - x) ** 2,
        x**2 * (3 - 2 * x),
        x * (1 - x) ** 2,
        x**2 * (x - 1),
    ]
