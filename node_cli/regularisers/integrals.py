"""Penalties that are integrals over t along the solution, of means over images and coordinates."""

import warnings
from typing import Literal

import torch
from torch import Tensor
from torch.func import jvp

from node_cli.ode.field import Field
from node_cli.regularisers.regulariser import Integrand, OfPath


class Kinetic(OfPath):
    """int |f|^2 dt / D, the mean over the batch, for D coordinates: straight paths at constant
    speed have the least.

    Cheap. Do not use it where the paths have to be long, from an unsuitable start.
    """

    def integrand(self, y: Tensor, generator: torch.Generator) -> Integrand:
        return lambda f, t, y, dy: dy.square().mean()


class Jacobian(OfPath):
    """int |v^T df/dy|^2 dt / D, the mean over the batch, with v of independent standard normal
    entries, drawn once for a solve (Hutchinson).

    Its expectation is the squared Frobenius norm of df/dy over D. Use it with ``kinetic``, as its
    authors do. It needs second derivatives of f.
    """

    further = 1

    def integrand(self, y: Tensor, generator: torch.Generator) -> Integrand:
        v = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y)

        def integrand(f: Field, t: Tensor, y: Tensor, dy: Tensor) -> Tensor:
            differentiated = torch.is_grad_enabled()
            with torch.enable_grad():
                if not dy.requires_grad:  # a solve without graphs
                    y = y.detach().requires_grad_()
                    dy = f(t, y)
                (product,) = torch.autograd.grad(
                    dy, y, v.to(dy.dtype), create_graph=differentiated, allow_unused=True
                )
            return y.new_zeros(()) if product is None else product.square().mean()

        return integrand


class Taylor(OfPath):
    """int |d^K y/dt^K|^2 dt / D, the mean over the batch, for K = ``order``: a method of order
    K - 1 and above has little error where it is small.

    d^2 y/dt^2 is the derivative of f along (1, f), by forward-mode differentiation, and the third
    the derivative of that. Slow; ``error`` is cheaper where the gradient method allows it.
    """

    def __init__(self, *, order: Literal[2, 3]) -> None:
        self.order = order
        with warnings.catch_warnings():  # of torch about its own code
            warnings.simplefilter("ignore")
            one = torch.ones(())
            jvp(torch.tanh, (one,), (one,))

    @property
    def further(self) -> int:  # type: ignore[override]
        return self.order - 1

    def integrand(self, y: Tensor, generator: torch.Generator) -> Integrand:
        def integrand(f: Field, t: Tensor, y: Tensor, dy: Tensor) -> Tensor:
            derivative = f
            for _ in range(self.order - 2):
                derivative = _derivative(f, derivative)
            return _along(derivative, t, y, dy).square().mean()

        return integrand


def _derivative(f: Field, g: Field) -> Field:
    """dg/dt along the solution, as a function of t and y."""
    return lambda t, y: _along(g, t, y, f(t, y))


def _along(g: Field, t: Tensor, y: Tensor, dy: Tensor) -> Tensor:
    """dg/dt + (dg/dy) dy."""
    moved: Tensor = jvp(g, (t, y), (torch.ones_like(t), dy.to(y.dtype)))[1]
    return moved
