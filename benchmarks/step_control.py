"""What each controller of the step size costs: evaluations of f at equal error.

Sixteen standard problems are solved over tolerances by each adaptive method and controller of the
package; a parabola is fitted to log NFE against log error, and compared over the errors that all of
them reach. Printed: the geometric mean over the problems of the NFE relative to ``integral``, its
range, and the part of all steps that is rejected. One process; under three minutes.

    python benchmarks/step_control.py [METHOD ...]

Problems: A2 to A4, B5 and C3 of T. E. Hull et al., "Comparing numerical methods for ordinary
differential equations", SIAM J. Numer. Anal. 9 (1972); the others are in E. Hairer, S. P. Norsett
and G. Wanner, "Solving Ordinary Differential Equations I", or written below.
"""

import math
import platform
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from node_cli.ode.engines.step_control import (
    CONTROLLERS,
    Controller,
    first_size,
    new_factor,
    probing_size,
)
from node_cli.ode.solver import Controller as ControllerName
from node_cli.ode.tableau import Tableau
from node_cli.ode.tableaus import TABLEAUS

State = NDArray[np.float64]
Field = Callable[[float, State], State]

METHODS = ("dopri5", "tsit5", "bosh3", "dopri8")
# log10 of the tolerances, loose and tight.
TOLERANCES = {"bosh3": (-2.0, -5.0), "": (-2.0, -8.0)}
MOST_STEPS = 100_000
POINTS = 40  # at which costs are compared


class Problem(NamedTuple):
    f: Field
    y0: list[float]
    t1: float


class Solution(NamedTuple):
    y: State
    nfe: int
    accepted: int
    rejected: int


def lorenz(t: float, y: State) -> State:
    return np.array([10 * (y[1] - y[0]), y[0] * (28 - y[2]) - y[1], y[0] * y[1] - 8 / 3 * y[2]])


def van_der_pol(mu: float) -> Field:
    return lambda t, y: np.array([y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]])


def kepler(t: float, y: State) -> State:
    r = math.hypot(y[0], y[1]) ** 3
    return np.array([y[2], y[3], -y[0] / r, -y[1] / r])


def arenstorf(t: float, y: State) -> State:
    """The restricted problem of three bodies."""
    small = 0.012277471
    large = 1 - small
    d1 = ((y[0] + small) ** 2 + y[1] ** 2) ** 1.5
    d2 = ((y[0] - large) ** 2 + y[1] ** 2) ** 1.5
    x = y[0] + 2 * y[3] - large * (y[0] + small) / d1 - small * (y[0] - large) / d2
    return np.array([y[2], y[3], x, y[1] - 2 * y[2] - large * y[1] / d1 - small * y[1] / d2])


def brusselator(t: float, y: State) -> State:
    product = y[0] ** 2 * y[1]
    return np.array([1 + product - 4 * y[0], 3 * y[0] - product])


def predators(t: float, y: State) -> State:
    return np.array([1.5 * y[0] - y[0] * y[1], -3 * y[1] + y[0] * y[1]])


def rigid_body(t: float, y: State) -> State:
    return np.array([y[1] * y[2], -y[0] * y[2], -0.51 * y[0] * y[1]])


def neuron(t: float, y: State) -> State:
    """FitzHugh and Nagumo."""
    return np.array([y[0] - y[0] ** 3 / 3 - y[1] + 0.5, 0.08 * (y[0] + 0.7 - 0.8 * y[1])])


def network() -> tuple[Field, list[float]]:
    """A random field with one hidden layer, as a neural ODE has."""
    rng = np.random.default_rng(0)
    up = rng.standard_normal((20, 10)) * 1.2 / 20**0.5
    down = rng.standard_normal((10, 20)) * 2.5 / 10**0.5
    return lambda t, y: up @ np.tanh(down @ y), list(rng.standard_normal(20))


CHAIN = -2 * np.eye(10) + np.eye(10, k=1) + np.eye(10, k=-1)

PROBLEMS = {
    "Lorenz": Problem(lorenz, [1.0, 1.0, 1.0], 4.0),
    "Van der Pol, mu = 1": Problem(van_der_pol(1.0), [2.0, 0.0], 10.0),
    "Van der Pol, mu = 10": Problem(van_der_pol(10.0), [2.0, 0.0], 15.0),
    "Kepler, e = 0.6": Problem(kepler, [0.4, 0.0, 0.0, 2.0], 10.0),
    "Lotka-Volterra": Problem(predators, [1.0, 1.0], 10.0),
    "Brusselator": Problem(brusselator, [1.5, 3.0], 10.0),
    "A2": Problem(lambda t, y: -(y**3) / 2, [1.0], 20.0),
    "A3": Problem(lambda t, y: y * math.cos(t), [1.0], 20.0),
    "A4": Problem(lambda t, y: y / 4 * (1 - y / 20), [1.0], 20.0),
    "B5": Problem(rigid_body, [0.0, 1.0, 1.0], 20.0),
    "C3": Problem(lambda t, y: CHAIN @ y, [1.0, *[0.0] * 9], 20.0),
    "Arenstorf": Problem(arenstorf, [0.994, 0.0, 0.0, -2.00158510637908], 8.0),
    "stiff": Problem(lambda t, y: -50 * (y - math.cos(t)), [1.0], 5.0),
    "FitzHugh-Nagumo": Problem(neuron, [-1.0, 1.0], 40.0),
    "pulse": Problem(lambda t, y: -y + 5 * math.exp(-200 * (t - 3) ** 2), [1.0], 6.0),
    "network": Problem(*network(), 5.0),
}


def rms(x: State) -> float:
    return math.sqrt(float(x @ x) / len(x))


def solve(problem: Problem, tol: float, tableau: Tableau, controller: Controller) -> Solution:
    """By the formulas of the native engine, in numpy."""
    f, order, fsal = problem.f, tableau.order, tableau.first_same_as_last
    a, b, b_error = [np.array(row) for row in tableau.a], np.array(tableau.b), tableau.b_error
    assert b_error is not None
    y, t = np.array(problem.y0), 0.0
    slopes = np.zeros((tableau.stages, len(y)))
    slopes[0] = f(t, y)
    scale = tol + tol * abs(y)
    d1 = rms(slopes[0] / scale)
    h0 = probing_size(rms(y / scale), d1)
    d2 = rms((f(h0, y + h0 * slopes[0]) - slopes[0]) / scale) / h0
    size, previous = first_size(h0, d1, d2, order), 1.0
    nfe, accepted, rejected = 2, 0, 0
    while t < problem.t1 and accepted + rejected < MOST_STEPS:
        lands = t + size >= problem.t1
        dt = problem.t1 - t if lands else size
        moved = y
        for i in range(1, tableau.stages):
            moved = y + dt * (a[i] @ slopes[:i])
            slopes[i] = f(t + tableau.c[i] * dt, moved)
        nfe += tableau.stages - 1
        y1 = moved if fsal else y + dt * (b @ slopes)
        scale = tol + tol * np.maximum(abs(y), abs(y1))
        error = rms(dt * (np.array(b_error) @ slopes) / scale)
        error = error if math.isfinite(error) else math.inf
        factor, previous = new_factor(controller, order, error, previous)
        size = dt * factor
        if error > 1:
            rejected += 1
            continue
        t, y, accepted = (problem.t1 if lands else t + dt), y1, accepted + 1
        if fsal:
            slopes[0] = slopes[-1]
        elif t < problem.t1:
            slopes[0], nfe = f(t, y), nfe + 1
    return Solution(y, nfe, accepted, rejected)


def costs(
    name: str, problem: Problem
) -> tuple[dict[ControllerName, float], dict[ControllerName, list[int]]]:
    """For each controller NFE at equal error relative to ``integral``; accepted, rejected steps."""
    loose, tight = TOLERANCES.get(name, TOLERANCES[""])
    tolerances = np.logspace(loose, tight, 2 * round(loose - tight) + 1)
    exact = solve_ivp(
        problem.f, (0, problem.t1), problem.y0, method="DOP853", rtol=1e-13, atol=1e-14
    ).y[:, -1]
    curves, steps = {}, {}
    for controller, rule in CONTROLLERS.items():
        found = [solve(problem, tol, TABLEAUS[name], rule) for tol in tolerances]
        errors = [rms((s.y - exact) / (1 + abs(exact))) + 1e-16 for s in found]
        curves[controller] = np.log(np.array([errors, [s.nfe for s in found]]))
        steps[controller] = [sum(s.accepted for s in found), sum(s.rejected for s in found)]
    low = max(curve[0].min() for curve in curves.values())
    high = min(curve[0].max() for curve in curves.values())
    margin = 0.1 * (high - low)
    grid = np.linspace(low + margin, high - margin, POINTS)
    fits = {c: np.polyval(np.polyfit(curve[0], curve[1], 2), grid) for c, curve in curves.items()}
    ratios = {c: float(np.exp((fit - fits["integral"]).mean())) for c, fit in fits.items()}
    return ratios, steps


def main() -> None:
    np.seterr(all="ignore")
    print(f"{platform.processor() or platform.machine()}, numpy {np.__version__}\n")
    print("| solver | controller | evaluations, `integral` = 1 | range over problems | rejected |")
    print("|---|---|---|---|---|")
    for name in sys.argv[1:] or METHODS:
        ratios: dict[ControllerName, list[float]] = {c: [] for c in CONTROLLERS}
        steps = {c: np.zeros(2) for c in CONTROLLERS}
        for title, problem in PROBLEMS.items():
            start = time.perf_counter()
            found, made = costs(name, problem)
            for c in CONTROLLERS:
                ratios[c].append(found[c])
                steps[c] += made[c]
            seconds = time.perf_counter() - start
            print(f"{name}: {title}, {seconds:.1f} s", file=sys.stderr, flush=True)
        for c, values in ratios.items():
            mean = math.exp(float(np.log(values).mean()))
            share = steps[c][1] / steps[c].sum()
            spread = f"{min(values):.2f} to {max(values):.2f}"
            print(f"| `{name}` | `{c}` | {mean:.2f} | {spread} | {share:.0%} |", flush=True)


if __name__ == "__main__":
    main()
