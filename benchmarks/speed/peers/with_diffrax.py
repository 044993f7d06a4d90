"""diffrax: the whole training step, optax's Adam included, under one ``jax.jit``.

The models are those of ``node_cli.models`` in plain JAX, images channels last, which is what XLA's
convolutions on a CPU want. The weights are copied from torch.

JAX's cache of compiled code does not take the step, since diffrax's run-time checks are host
callbacks: its first step takes as long with a filled cache.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import optax
from jax import Array
from torch import Tensor, nn

from speed.contenders import Task
from speed.task import BATCHES, LEARNING_RATE, Evaluations, arrays, modules

Weights = dict[str, list[tuple[Array, Array]]]
"""Kernel and bias of each layer that has weights, for "stem", "field" and "head"."""

GROUP_NORM_EPS = 1e-5  # torch's default


def _layers(part: nn.Module) -> list[tuple[Array, Array]]:
    def array(tensor: Tensor) -> Array:
        # Linear: [out, in] to [in, out]; Conv2d: OIHW to HWIO; vectors as they are.
        axes = {1: (0,), 2: (1, 0), 4: (2, 3, 1, 0)}[tensor.ndim]
        return jnp.asarray(tensor.detach().permute(axes).cpu().numpy())

    named = dict(part.named_parameters())
    names = [name.removesuffix("weight") for name in named if name.endswith("weight")]
    return [(array(named[f"{name}weight"]), array(named[f"{name}bias"])) for name in names]


def _conv(x: Array, layer: tuple[Array, Array], stride: int, padding: int) -> Array:
    kernel, bias = layer
    pads = [(padding, padding)] * 2
    y = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + bias


def _channel_norm(x: Array, layer: tuple[Array, Array]) -> Array:
    """GroupNorm with as many groups as channels."""
    scale, bias = layer
    mean = x.mean((1, 2), keepdims=True)
    variance = x.var((1, 2), keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + GROUP_NORM_EPS) * scale + bias


def _dense_stem(layers: list[tuple[Array, Array]], x: Array) -> Array:
    ((kernel, bias),) = layers
    return jnp.tanh(x.reshape(len(x), -1) @ kernel + bias)


def _dense_field(layers: list[tuple[Array, Array]], y: Array) -> Array:
    for kernel, bias in layers:
        y = jnp.tanh(y @ kernel + bias)
    return y


def _dense_head(layers: list[tuple[Array, Array]], y: Array) -> Array:
    ((kernel, bias),) = layers
    return y @ kernel + bias


def _conv_stem(layers: list[tuple[Array, Array]], x: Array) -> Array:
    conv1, norm1, conv2, norm2, conv3 = layers
    x = _channel_norm(jax.nn.relu(_conv(x, conv1, 1, 0)), norm1)
    x = _channel_norm(jax.nn.relu(_conv(x, conv2, 2, 1)), norm2)
    return _conv(x, conv3, 2, 1)


def _conv_field(layers: list[tuple[Array, Array]], y: Array) -> Array:
    for layer in layers:
        y = jnp.tanh(_conv(y, layer, 1, 1))
    return y


def _conv_head(layers: list[tuple[Array, Array]], y: Array) -> Array:
    norm, linear = layers
    return _dense_head([linear], jax.nn.relu(_channel_norm(y, norm)).mean((1, 2)))


Part = Callable[[list[tuple[Array, Array]], Array], Array]
MODELS: dict[str, tuple[Part, Part, Part]] = {
    "dense": (_dense_stem, _dense_field, _dense_head),
    "conv": (_conv_stem, _conv_field, _conv_head),
}


class DiffraxStep:
    def __init__(self, task: Task, adjoint: str) -> None:
        if jax.default_backend() != ("gpu" if task.device == "cuda" else "cpu"):
            raise RuntimeError(f"JAX computes on {jax.default_backend()}, not on {task.device}")
        self.task = task
        self.adjoint = getattr(diffrax, adjoint)()
        images, labels = arrays(task)
        self.images = [jnp.asarray(x.transpose(0, 2, 3, 1)) for x in images]
        self.labels = [jnp.asarray(x.astype("int32")) for x in labels]
        self.weights: Weights = {
            name: _layers(part) for name, part in modules(task)._asdict().items()
        }
        self.optimizer = optax.adam(LEARNING_RATE)
        self.state = self.optimizer.init(self.weights)
        self.update = jax.jit(self._update, donate_argnums=(0, 1))
        counted = partial(self._loss, tick=self._tick)
        self.counted_loss = jax.jit(counted)
        self.counted_gradient = jax.jit(jax.value_and_grad(counted))
        self.history: list[Array] = []

    def _loss(
        self, weights: Weights, images: Array, labels: Array, tick: Callable[[], None] | None = None
    ) -> Array:
        stem, field, head = MODELS[self.task.model]

        def vector_field(t: Array, y: Array, layers: Any) -> Array:
            if tick is not None:
                jax.debug.callback(tick)
            return field(layers, y)

        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(vector_field),
            diffrax.Dopri5(),
            t0=0.0,
            t1=1.0,
            dt0=None,
            y0=stem(weights["stem"], images),
            args=weights["field"],
            stepsize_controller=diffrax.PIDController(rtol=self.task.tol, atol=self.task.tol),
            adjoint=self.adjoint,
        )
        assert solution.ys is not None
        logits = head(weights["head"], solution.ys[-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def _update(
        self, weights: Weights, state: optax.OptState, images: Array, labels: Array
    ) -> tuple[Weights, optax.OptState, Array]:
        loss, gradient = jax.value_and_grad(self._loss)(weights, images, labels)
        updates, state = self.optimizer.update(gradient, state)
        return optax.apply_updates(weights, updates), state, loss

    def step(self, index: int) -> None:
        index %= BATCHES
        self.weights, self.state, loss = self.update(
            self.weights, self.state, self.images[index], self.labels[index]
        )
        self.history.append(loss)

    def wait(self) -> None:
        jax.block_until_ready((self.weights, self.state, self.history[-1:]))

    def losses(self) -> list[float]:
        return [float(loss) for loss in self.history]

    def count(self, index: int) -> Evaluations:
        """By a callback in f, in one run of the loss alone and one with its gradient."""
        index %= BATCHES

        def calls(run: Callable[..., Any]) -> int:
            self.calls = 0
            jax.block_until_ready(run(self.weights, self.images[index], self.labels[index]))
            jax.effects_barrier()
            return self.calls

        forward = calls(self.counted_loss)
        return Evaluations(forward, calls(self.counted_gradient) - forward)

    def _tick(self) -> None:
        self.calls += 1


def build(task: Task, adjoint: str) -> DiffraxStep:
    return DiffraxStep(task, adjoint)
