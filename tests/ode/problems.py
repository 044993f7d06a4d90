"""Fields with and without parameters, and what several tests do with them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from node_cli.ode.engines.eager import solve as eager
from node_cli.ode.engines.eager.dense_output import DenseOutput
from node_cli.ode.engines.eager.step import Stepper
from node_cli.ode.engines.reference import solve as reference
from node_cli.ode.sensitivity.backsolve import Backsolve
from node_cli.ode.sensitivity.discrete import Checkpointed, Discrete
from node_cli.ode.sensitivity.gauss import Gauss
from node_cli.ode.sensitivity.interpolating import Interpolating
from node_cli.ode.sensitivity.method import Sensitivity
from node_cli.ode.solver import METHODS, Solver, StepMemory
from node_cli.ode.work import Steps, Work

FLOAT64 = torch.float64
ADAPTIVE = [name for name, method in METHODS.items() if method.kind == "adaptive"]
FIXED = [name for name, method in METHODS.items() if method.kind == "fixed"]
RUNGE_KUTTA = [*FIXED, *ADAPTIVE]

# With the exact gradient of the numerical solution, and with that of the ODE.
DISCRETE: list[Sensitivity] = [Discrete(), Checkpointed()]
CONTINUOUS: list[Sensitivity] = [
    Backsolve(),
    Backsolve("seminorm"),
    Interpolating(),
    Interpolating("seminorm"),
    Gauss(),
]
SENSITIVITIES = [*DISCRETE, *CONTINUOUS]
ONE_OF_EACH: dict[str, Sensitivity] = {
    "discrete": Discrete(),
    "checkpointed": Checkpointed(),
    "backsolve": Backsolve(),
    "interpolating": Interpolating(),
    "gauss": Gauss(),
}
every_method = pytest.mark.parametrize("sensitivity", ONE_OF_EACH.values(), ids=ONE_OF_EACH)

Function = Callable[[Tensor, Tensor], Tensor]


def times(*values: float, dtype: torch.dtype = FLOAT64) -> Tensor:
    return torch.tensor(values, dtype=dtype)


def pendulum(t: Tensor, y: Tensor) -> Tensor:
    """Non-linear, non-autonomous, two components."""
    return torch.stack([y[1] * torch.cos(t), -torch.sin(y[0]) + 0.3 * t * y[1]])


def riccati(t: Tensor, y: Tensor) -> Tensor:
    return -2 * t * y**2 + torch.cos(3 * t)


def growth(t: Tensor, y: Tensor) -> Tensor:
    return y * torch.cos(t) + 0.2 * torch.sin(y)


def blow_up(t: Tensor, y: Tensor) -> Tensor:
    """y = 1 / (1 - t) from y(0) = 1: infinite at t = 1."""
    return y**2


# Each with its start.
PROBLEMS = [
    (pendulum, times(0.7, 0.4)),
    (riccati, times(1.0)),
    (growth, times(0.5)),
]


class Spy:
    """A field that remembers at which times it was evaluated."""

    def __init__(self, f: Function) -> None:
        self.f = f
        self.t: list[float] = []
        self.dtypes: set[torch.dtype] = set()

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.t.append(float(t))
        self.dtypes |= {t.dtype, y.dtype}
        return self.f(t, y)

    @property
    def nfe(self) -> int:
        return len(self.t)


@torch.no_grad()
def solve(
    f: Function, y0: Tensor, t: Tensor, solver: Solver, memory: StepMemory | None = None
) -> tuple[Tensor, Steps]:
    """By the engine that the solver names."""
    if solver.engine == "torchdiffeq":
        return reference.integrate(f, y0, t, solver)
    return eager.integrate(Stepper(f, solver), y0.detach(), t, solver, memory=memory)


@torch.no_grad()
def solve_densely(
    f: Function, y0: Tensor, t: Tensor, solver: Solver
) -> tuple[Tensor, Steps, DenseOutput]:
    """The same by the native engine, and its dense output."""
    stepper = Stepper(f, solver)
    trajectory = DenseOutput(stepper)
    y, steps = eager.integrate(stepper, y0, t, solver, on_accept=trajectory.record)
    trajectory.finish()
    return y, steps, trajectory


def exact(f: Function, y0: Tensor, t1: float, t0: float = 0.0) -> Tensor:
    """y(t1), to about 1e-13."""
    return solve(f, y0, times(t0, t1), Solver("dopri8", rtol=1e-13, atol=1e-13))[0][-1]


def equal_steps(name: str, n: int, t0: float, t1: float) -> tuple[Tensor, Solver]:
    """Requested times and a solver that takes n equal steps, with an adaptive method too.

    Which accepts every step, and lands after each of them.
    """
    if METHODS[name].kind == "fixed":
        return times(t0, t1), Solver(name, n_steps=n)
    t = torch.linspace(t0, t1, n + 1, dtype=FLOAT64)
    return t, Solver(name, rtol=1e10, atol=1e10, first_step=abs(t1 - t0))


class MLP(nn.Module):
    """A small non-linear field that sees the time."""

    def __init__(self, seed: int = 0, width: int = 3, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(width + 1, 8), nn.Tanh(), nn.Linear(8, width)).double()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-scale, scale, generator=generator)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(torch.cat([y, t.expand(len(y), 1)], 1))


class Linear(nn.Module):
    """dy/dt = A y."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.a = nn.Parameter(torch.randn(3, 3, dtype=FLOAT64, generator=generator))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y @ self.a.T


def start(seed: int = 2) -> Tensor:
    """y0 of five samples, for MLP and Linear."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(5, 3, dtype=FLOAT64, generator=generator).requires_grad_()


def loss_of(y: Tensor) -> Tensor:
    """Of every requested time, with a slope of its own at each."""
    return (torch.arange(1, y.numel() + 1, dtype=y.dtype).view_as(y).sin() * y).sum()


def gradients(
    sensitivity: Sensitivity, field: nn.Module, t: Tensor, solver: Solver, work: Work | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """dL/dtheta (flat), dL/dy0, dL/dt."""
    y0, t = start(), t.clone().requires_grad_()
    y = sensitivity(field, y0, t, solver, work or Work())
    parameters = list(field.parameters())
    *theta, d_y0, d_t = torch.autograd.grad(loss_of(y), [*parameters, y0, t])
    return torch.cat([g.flatten() for g in theta]), d_y0, d_t


def theta_gradient(field: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for p in field.parameters() if p.grad is not None])


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def worst(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> float:
    """The largest relative difference."""
    return max(relative(x, y) for x, y in zip(a, b, strict=True))


def name_of(value: object) -> str | None:
    """Of a sensitivity method, for the identifier of a test."""
    if isinstance(value, Discrete | Checkpointed | Gauss):
        return type(value).__name__
    if isinstance(value, Backsolve | Interpolating):
        return f"{type(value).__name__}-{value.norm}"
    return None
