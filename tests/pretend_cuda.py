"""A pretended CUDA, for machines without one: tensors of the CPU that say they are on ``cuda:N``.

Operations that mix devices raise, as those of CUDA do, and every copy between host and device is
listed: each of them makes the host wait, but for one that is non-blocking from pinned memory.
Values are those of the CPU. C++ takes such a tensor for one on the device ``meta``; whatever asks
for its device there, and does not come by the dispatcher, is answered in ``Functions``.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

CPU = torch.device("cpu")
SIZED_BY_VALUES = {"nonzero", "masked_select", "_unique2", "unique_dim", "bincount"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


class Copy(NamedTuple):
    """``line``: of the package, that asked for it."""

    kind: str
    operation: str
    line: str


copies: list[Copy] = []


def waits() -> tuple[int, int]:
    """How often the host has waited for a copy to a device, and for one from it."""
    kinds = [copy.kind for copy in copies]
    return kinds.count("to device"), kinds.count("to host")


def note(kind: str, operation: str) -> None:
    frame = sys._getframe()
    while frame.f_back and "/node_cli/" not in frame.f_code.co_filename:
        frame = frame.f_back
    file = frame.f_code.co_filename.rpartition("/node_cli/")[2]
    copies.append(Copy(kind, operation, f"{file}:{frame.f_lineno}"))


class OnCuda(Tensor):
    """``values``, a tensor of the CPU, as if on a device."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    is_cuda = True  # type: ignore[assignment]
    is_cpu = is_meta = False  # type: ignore[assignment]
    device = property(lambda self: self.on)  # type: ignore[assignment]

    @staticmethod
    def __new__(cls: Any, values: Tensor, _: torch.device) -> Any:
        size, strides, offset = values.shape, values.stride(), values.storage_offset()
        return Tensor._make_wrapper_subclass(
            cls, size, strides=strides, storage_offset=offset, dtype=values.dtype, device="meta"
        )

    def __init__(self, values: Tensor, device: torch.device) -> None:
        self.values, self.on = values, device  # type: ignore[method-assign]

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        new = OnCuda(self.values.clone(), self.on).requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            new._is_param = True
        return memo.setdefault(id(self), new)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return moved(self.detach(), CPU).__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(cls, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of an operator, on the device of its operands or the one asked for."""
    name = func._schema.name.removeprefix("aten::")
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    ours = [x for x in tensors if isinstance(x, OnCuda)]
    target = placed(kwargs.get("device"), ours[0].device if ours else CPU)
    if name in ("copy_", "_to_copy"):
        note_copy(name, args[-1], args[0].device if name == "copy_" else target, kwargs)
    elif ours:
        note_operands(func, name, tensors)
    if kwargs.get("device") is not None:
        kwargs = kwargs | {"device": CPU}
    args, kwargs = tree_map_only(OnCuda, lambda x: x.values, (args, kwargs))
    result = func(*args, **kwargs)
    if target == CPU:
        return result
    known = {id(x.values): x for x in ours}  # in place an operator returns what it was given
    return tree_map_only(Tensor, lambda x: known.get(id(x), OnCuda(x, target)), result)


def placed(asked: Any, otherwise: torch.device) -> torch.device:
    """The device that is asked for, in full; by the device ``meta`` C++ means that of the rest."""
    device = otherwise if asked is None else torch.device(asked)
    if device.type == "meta":
        device = otherwise if otherwise != CPU else torch.device("cuda")
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def note_copy(name: str, source: Any, target: torch.device, options: dict[str, Any]) -> None:
    if target != source.device:
        at_once = options.get("non_blocking") and getattr(source, "pinned", False)
        kind = "to host" if target == CPU else "to device" if source.device == CPU else "across"
        note("in passing" if at_once else kind, name)


def note_operands(func: Any, name: str, tensors: list[Tensor]) -> None:
    """Raises where devices are mixed, but for numbers and indices on the CPU."""
    on_host = [x for x in tensors if not isinstance(x, OnCuda)]
    for x in on_host:
        if name in INDEXING and x is not tensors[0]:
            note("to device", name)
        elif x.ndim > 0 or torch.Tag.pointwise not in func.tags:
            mixed(name, tensors)
    if len({x.device for x in tensors} - {CPU}) > 1:
        mixed(name, tensors)
    by_mask = name in INDEXING and any(x.dtype == torch.bool for x in tensors[1:])
    if by_mask or name in SIZED_BY_VALUES or name in ("_local_scalar_dense", "equal"):
        note("to host", name)


def mixed(name: str, tensors: list[Tensor]) -> None:
    found = ", ".join(sorted({str(x.device) for x in tensors}))
    raise RuntimeError(f"Expected all tensors to be on the same device, but found {found} ({name})")


def moved(
    x: Tensor,
    device: Any = None,
    dtype: Any = None,
    *,
    non_blocking: Any = False,
    copy: Any = False,
) -> Tensor:
    """``Tensor.to``; differentiable."""
    device, dtype = placed(device, x.device), dtype or x.dtype
    if (device, dtype) == (x.device, x.dtype) and not copy:
        return x
    return torch.ops.aten._to_copy(x, dtype=dtype, device=device, non_blocking=non_blocking)


def to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if args and isinstance(args[0], Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    copy = kwargs.pop("copy", False)
    device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
    return moved(x, device, dtype, non_blocking=non_blocking, copy=copy)


def tensor(data: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
    if isinstance(data, OnCuda):
        return moved(data.detach().clone(), device, dtype)
    return moved(torch.tensor(data, dtype=dtype), device)


def pinned(x: Tensor) -> Any:
    new: Any = x.clone()
    new.pinned = True
    return new


def tolist(x: Tensor) -> Any:
    return moved(x.detach(), CPU).tolist()


def numpy(x: Tensor) -> Any:
    if isinstance(x, OnCuda):
        raise TypeError(f"can't convert {x.device} device type tensor to numpy")
    return x.numpy()


def backward(loss: Tensor, **_: Any) -> None:
    with Functions():  # of the backward pass too
        one = torch.ones_like(loss)
        engine = torch.autograd.Variable._execution_engine  # what Tensor.backward ends in
        engine.run_backward((loss,), (one,), False, False, (), True, accumulate_grad=True)


INSTEAD = {
    Tensor.backward: backward,
    torch.tensor: tensor,
    torch.as_tensor: lambda x, **k: to(x, **k) if isinstance(x, Tensor) else tensor(x, **k),
    Tensor.new_tensor: lambda x, data, **k: tensor(
        data, **{"dtype": x.dtype, "device": x.device} | k
    ),
    Tensor.to: to,
    Tensor.type_as: to,
    Tensor.cpu: lambda x: moved(x, CPU),
    Tensor.cuda: lambda x, device="cuda": moved(x, device),
    Tensor.pin_memory: pinned,
    Tensor.tolist: tolist,
    Tensor.numpy: numpy,
}


class Functions(TorchFunctionMode):
    """What would ask C++ for a device."""

    def __torch_function__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        return INSTEAD.get(func, func)(*args, **kwargs or {})


class Operators(TorchDispatchMode):
    """What no operand says the device of."""

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


@contextmanager
def pretended_cuda(devices: int = 2) -> Iterator[None]:
    """Inside, torch has so many GPUs."""
    state = torch.zeros(16, dtype=torch.uint8)
    current = 0

    def set_device(device: Any) -> None:
        nonlocal current
        if isinstance(device, torch.device) and device.index is None:
            raise ValueError(f"Expected a torch.device with a specified index, but got:{device}")
        current = torch.device(device).index or 0

    def properties(device: Any) -> SimpleNamespace:
        facts = {"name": "pretended", "total_memory": 2**34, "major": 9, "minor": 0}
        return SimpleNamespace(**facts, uuid=f"pretended-{torch.device(device).index or 0}")

    answers = {
        "is_available": True,
        "is_initialized": True,
        "_lazy_init": None,
        "device_count": devices,
        "get_device_name": "pretended",
        "get_device_capability": (9, 0),
        "synchronize": None,
        "empty_cache": None,
        "mem_get_info": (2**34, 2**34),
        "memory_allocated": 0,
        "max_memory_allocated": 2**20,
        "reset_peak_memory_stats": None,
        "get_rng_state": state,
        "get_rng_state_all": [state] * devices,
        "set_rng_state_all": None,
        "manual_seed_all": None,
        "is_current_stream_capturing": False,
    }
    functions = {name: mock.Mock(return_value=answer) for name, answer in answers.items()}
    functions |= {
        "set_device": set_device,
        "current_device": lambda: current,
        "get_device_properties": properties,
    }
    stream = SimpleNamespace(is_capturing=lambda: False)
    conversion = torch.__future__.get_overwrite_module_params_on_conversion()
    with ExitStack() as stack:
        enter = stack.enter_context
        for name, function in functions.items():
            enter(mock.patch.object(torch.cuda, name, function))
        enter(mock.patch.object(torch.accelerator, "current_stream", return_value=stream))
        # Else modules are moved by changing what C++ knows of a parameter.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, conversion)
        enter(Functions())
        enter(Operators())
        copies.clear()
        yield
