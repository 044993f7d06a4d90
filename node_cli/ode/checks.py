"""What is asked of a start and of a field: cheap checks, each with one clear line."""

import math
import sys
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.autograd.graph import Node

from node_cli.ode.failures import NoDerivative, Unsuitable
from node_cli.ode.field import Field
from node_cli.ode.solver import Engine, check_times

INPLACE = (
    "f changes y in place, and with it the state of the solver; let it return a new tensor "
    "(y * 2, not y.mul_(2))"
)
NOT_REPEATED = "a solver that chooses its steps needs a function of t and y"
AGAIN = "sensitivity=discrete with a fixed-step solver may, since it evaluates f once"


def check_start(y0: Tensor, engine: Engine | None) -> None:
    """Raises TypeError for a dtype that no solver takes, ValueError for a state without elements,
    RuntimeError inside a transform of torch.func."""
    if torch._C._are_functorch_transforms_active():
        raise RuntimeError(
            "a solve does not work inside torch.func (vmap, grad, jacrev, ...): put samples into "
            "the batch, and take torch.autograd.grad or torch.autograd.functional.jacobian"
        )
    if y0.dtype not in (torch.float32, torch.float64):
        advice = "make it float32 (y0.float()) or float64"
        if y0.is_complex():
            advice = "split it into real numbers by torch.view_as_real"
        elif y0.is_floating_point():
            advice += ", and let f alone run in the lower precision by torch.autocast"
        if engine == "native" or not (y0.is_complex() or y0.is_floating_point()):
            raise TypeError(f"y0 is {_name(y0.dtype)}, which this solver does not take: {advice}")
    if y0.numel() == 0:
        raise ValueError(f"y0 has no elements, shape {tuple(y0.shape)}: there is nothing to solve")


def stands_still(t: Tensor) -> bool:
    """Whether all requested times are the same one; ValueError for times that are none.

    t: (T,). All that is not refused here is one time, T equal ones, or strictly monotonic.
    """
    if t.dim() != 1 or len(t) == 0:
        raise ValueError(f"t has to be a vector of times, not of shape {tuple(t.shape)}")
    times: list[float] = t.tolist()
    if not all(map(math.isfinite, times)):
        raise ValueError(f"every time has to be finite: {times}")
    if times.count(times[0]) == len(times):
        return True
    check_times(times)
    return False


def checked(f: Field, *, repeatable: bool = False) -> Field:
    """f, of whose first result is checked that a solver can use it.

    Where somebody else holds that result, every one is copied, since the next evaluation may write
    over it. Raises ``NoDerivative`` where it is no tensor, ``Unsuitable`` where it has another
    shape than y, y was changed or, where f has to be ``repeatable``, random numbers were drawn: an
    adaptive solve of noise would take ever smaller steps. Cost: about 2 us for the first evaluation
    (8 us with ``repeatable``), and a call for the others.
    """
    copies: bool | None = None

    def call(t: Tensor, y: Tensor) -> Tensor:
        nonlocal copies
        if copies is None:
            before = random_states(y.device) if repeatable else b""
            dy = _looked_at(f, t, y)
            if repeatable and random_states(y.device) != before:
                raise Unsuitable(f"f draws random numbers (dropout?); {NOT_REPEATED}. {AGAIN}")
            copies = _held(dy)
        else:
            dy = f(t, y)
        return dy.clone() if copies else dy

    return call


def _looked_at(f: Field, t: Tensor, y: Tensor) -> Tensor:
    """f(t, y), checked."""
    # Tensors of inference mode do not count how often they were changed.
    counts = not torch.is_inference_mode_enabled()
    version = y._version if counts else 0
    before = None if counts else y.clone()
    try:
        dy = f(t, y)
    except RuntimeError as error:
        if "leaf Variable that requires grad is being used in an in-place" in str(error):
            raise Unsuitable(f"{INPLACE}, or a parameter") from error
        raise
    if not isinstance(dy, Tensor):
        raise NoDerivative(f"f returns {_described(dy)}; it has to return dy/dt, shaped like y")
    if dy.shape != y.shape:
        shapes = f"{tuple(dy.shape)} for a y of shape {tuple(y.shape)}"
        raise Unsuitable(f"f returns a tensor of shape {shapes}; the two have to be equal")
    if dy.is_complex() and not y.is_complex():
        raise NoDerivative(f"f returns {_name(dy.dtype)} for a y of {_name(y.dtype)}")
    if counts and y._version != version:
        raise Unsuitable(INPLACE)
    if before is not None and not bool(((y == before) | (y != y)).all()):
        raise Unsuitable(INPLACE)
    return dy


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _described(x: object) -> str:
    if isinstance(x, tuple | list):
        return f"a {type(x).__name__} of {len(x)}"
    return "None" if x is None else f"a {type(x).__name__}"


def _references(x: Tensor) -> int:
    """To the object, as its caller sees it, whose variable is one."""
    return sys.getrefcount(x)


def _fresh_references() -> tuple[int, int]:
    """Those of a tensor that nobody else holds: to the caller of this kind of function, and one
    call deeper. Asked for, since how Python counts depends on its version."""

    def deeper(x: Tensor) -> int:
        return _references(x)

    x = torch.empty(0)
    return _references(x), deeper(x)


_FRESH, _FRESH_DEEPER = _fresh_references()
_USES: Callable[[int], int] | None = getattr(torch._C, "_storage_Use_Count", None)


def _held(dy: Tensor) -> bool:
    """Whether somebody else has the tensor, or its memory.

    With a graph its memory may be that of what the graph has saved; then only the tensor itself,
    or the one that it is a view of, is asked for.
    """
    if _references(dy) > _FRESH_DEEPER:
        return True
    base = dy._base
    if base is not None and _references(base) > _FRESH:
        return True
    if dy.requires_grad or _USES is None:
        return False
    storage = dy.untyped_storage()
    return _USES(storage._cdata) > (2 if base is None else 3) or not storage.resizable()


def check_graph(k: Tensor, known: Iterable[Tensor]) -> None:
    """Raises ``Unsuitable`` where k depends on a tensor that requires grad and is none of
    ``known``, whose gradient would be lost without a word. Cost: that of ``leaves_behind``."""
    for leaf in leaves_behind(k, known):
        raise Unsuitable(
            f"f uses a tensor of shape {tuple(leaf.shape)} that requires grad and is no "
            "parameter of the field, so that it would get no gradient: register it "
            "(nn.Parameter), make it part of y, or detach it"
        )


def leaves_behind(k: Tensor, known: Iterable[Tensor]) -> Iterator[Tensor]:
    """The tensors, each once, that require grad, are no results of others, and on which k depends,
    but for what stands before ``known``.

    Cost: a visit of every node of k's graph, about 0.5 us each.
    """
    if k.grad_fn is None:
        return
    known = list(known)
    leaves = {id(x) for x in known}
    seen = {x.grad_fn for x in known if x.grad_fn is not None}
    found: list[Node | None] = [k.grad_fn]
    while found:
        node = found.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        following = node.next_functions
        if following:
            found += [before for before, _ in following]
            continue
        variable = getattr(node, "variable", None)
        if isinstance(variable, Tensor) and id(variable) not in leaves:
            leaves.add(id(variable))
            yield variable


def random_states(device: torch.device) -> bytes:
    """Of the generators that an f on this device may draw from: equal where nothing was drawn in
    between. Cost: 3 us each."""
    state: bytes = torch.default_generator.get_state().numpy().tobytes()
    if device.type == "cuda" and torch.cuda.is_initialized():
        state += torch.cuda.get_rng_state(device).numpy().tobytes()
    return state
