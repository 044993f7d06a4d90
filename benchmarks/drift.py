"""How far y drifts that `backsolve` solves again backwards, beside the error of its gradient.

For each problem, solver and tolerance: the drift (`ode/drift.py`), and the relative error of
dL/d(y0, theta) for L = sum of y over four times, against the discrete gradient of dopri8 at a
tolerance of 1e-12. One process; under a minute.

    python benchmarks/drift.py
"""

import platform
import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

from node_cli.ode.failures import SolveFailed
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Checkpointed
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import Solver
from node_cli.ode.work import Work

FLOAT64 = torch.float64
TIMES = 4


class VanDerPol(nn.Module):
    """dx/dt = v, dv/dt = mu (1 - x^2) v - x."""

    def __init__(self, mu: float) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.tensor(mu, dtype=FLOAT64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x, v = y
        return torch.stack([v, self.mu * (1 - x**2) * v - x])


class Decay(nn.Module):
    """dy/dt = -k y, for each component."""

    def __init__(self, *rates: float) -> None:
        super().__init__()
        self.k = nn.Parameter(torch.tensor(rates, dtype=FLOAT64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -self.k * y


class Kepler(nn.Module):
    """Two bodies."""

    def __init__(self) -> None:
        super().__init__()
        self.mass = nn.Parameter(torch.tensor(1.0, dtype=FLOAT64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.cat([y[2:], -self.mass * y[:2] / y[:2].norm() ** 3])


class Lorenz(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([10.0, 28.0, 8 / 3], dtype=FLOAT64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        sigma, rho, beta = self.p
        a, b, c = y
        return torch.stack([sigma * (b - a), a * (rho - c) - b, a * b - beta * c])


class Network(nn.Module):
    """One hidden layer, as a neural ODE has, times ``scale``."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.scale = scale
        self.down = nn.Parameter(torch.randn(10, 20, dtype=FLOAT64, generator=generator) / 20**0.5)
        self.up = nn.Parameter(torch.randn(20, 10, dtype=FLOAT64, generator=generator) / 10**0.5)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.scale * (self.up @ torch.tanh(self.down @ y))


class Problem(NamedTuple):
    field: nn.Module
    y0: list[float]
    t1: float


NORMAL = torch.randn(20, dtype=FLOAT64, generator=torch.Generator().manual_seed(1)).tolist()
PROBLEMS = {
    "Van der Pol, mu = 1, to t = 10": Problem(VanDerPol(1.0), [2.0, 0.0], 10.0),
    "Van der Pol, mu = 10, to t = 3": Problem(VanDerPol(10.0), [2.0, 0.0], 3.0),
    "decay at rates 1 and 2, to t = 1": Problem(Decay(1.0, 2.0), [1.0, 1.0], 1.0),
    "decay at rates 1 and 10, to t = 1": Problem(Decay(1.0, 10.0), [1.0, 1.0], 1.0),
    "decay at rates 1 and 50, to t = 1": Problem(Decay(1.0, 50.0), [1.0, 1.0], 1.0),
    "Kepler, e = 0.6, to t = 5": Problem(Kepler(), [0.4, 0.0, 0.0, 2.0], 5.0),
    "Lorenz, to t = 1": Problem(Lorenz(), [1.0, 1.0, 1.0], 1.0),
    "network, scale 1, to t = 1": Problem(Network(1.0), NORMAL, 1.0),
    "network, scale 10, to t = 1": Problem(Network(10.0), NORMAL, 1.0),
}
SOLVERS = [
    *(Solver("dopri5", rtol=tol, atol=tol) for tol in (1e-3, 1e-6)),
    *(Solver("dopri8", rtol=tol, atol=tol) for tol in (1e-6, 1e-10)),
    Solver("rk4", n_steps=20),
]


def gradient(problem: Problem, method: Sensitivity, solver: Solver, work: Work) -> Tensor:
    """dL/d(y0, theta), flat."""
    y0 = torch.tensor(problem.y0, dtype=FLOAT64, requires_grad=True)
    t = torch.linspace(0, problem.t1, TIMES, dtype=FLOAT64)
    y = method(problem.field, y0, t, solver, work)
    found = torch.autograd.grad(y.sum(), [y0, *problem.field.parameters()])
    return torch.cat([g.flatten() for g in found])


def main() -> None:
    warnings.simplefilter("ignore")
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}\n")
    print("| problem | solver | tolerance | drift | error of the gradient |")
    print("|---|---|---|---|---|")
    for title, problem in PROBLEMS.items():
        exact = gradient(problem, Checkpointed(), Solver("dopri8", rtol=1e-12, atol=1e-12), Work())
        for solver in SOLVERS:
            row = f"| {title} | `{solver.name}` | {solver.rtol or 'none'} |"
            work = Work()
            try:
                error = gradient(problem, Backsolve(), solver, work) - exact
            except SolveFailed as failure:
                print(f"{row} | fails: {failure.reason} |")
                continue
            relative = float(error.norm() / exact.norm())
            print(f"{row} {work.drift_backward:.1e} | {relative:.1e} |", flush=True)


if __name__ == "__main__":
    main()
