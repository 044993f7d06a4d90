"""A safetensors file: weights by name, as other tools read and write them.

The format: eight bytes with the length of a header (little-endian), the header (JSON: of each
tensor its dtype, shape and place), then the numbers one after the other. It holds no code.
https://huggingface.co/docs/safetensors
"""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from node_cli.errors import UserError, one_line
from node_cli.records.files import replacing

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

SUFFIX = ".safetensors"
LENGTH_BYTES = 8


def load(path: Path, key: str) -> dict[str, Tensor]:
    """Read the weights in a file onto the CPU. ``key``: which named it.

    Raises ``UserError`` where the file is missing, or is none of this format.
    """
    try:
        content = path.read_bytes()
        start = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
        if len(content) < LENGTH_BYTES or start > len(content):
            raise ValueError("shorter than its header")
        header = json.loads(content[LENGTH_BYTES:start])
        header.pop("__metadata__", None)
        return {name: _tensor(entry, content[start:]) for name, entry in header.items()}
    except FileNotFoundError:
        raise UserError(f"{key}={path}: no such file") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"no {error} of a tensor" if isinstance(error, KeyError) else one_line(error)
        raise UserError(f"{key}={path}: damaged, or not a safetensors file ({why})") from error


def save(path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write weights, on any device, atomically. Raises OSError."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    numbers, place = [], 0
    # The largest items first, so that each tensor begins at a multiple of the size of its items.
    for name, x in sorted(weights.items(), key=lambda pair: (-pair[1].itemsize, pair[0])):
        content = x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        offsets = [place, place := place + len(content)]
        header[name] = {"dtype": names[x.dtype], "shape": [*x.shape], "data_offsets": offsets}
        numbers.append(content)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as temporary:
        temporary.write_bytes(len(text).to_bytes(LENGTH_BYTES, "little") + text + b"".join(numbers))


def _tensor(entry: dict[str, Any], numbers: bytes) -> Tensor:
    """The tensor that an entry of the header describes. Raises ValueError, KeyError, TypeError."""
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"dtype {entry['dtype']}, must be one of {', '.join(DTYPES)}")
    dtype = DTYPES[entry["dtype"]]
    sizes = [*shape, begin, end]
    if any(type(size) is not int or size < 0 for size in sizes) or end > len(numbers):
        raise ValueError(f"a tensor of shape {shape} at {begin} to {end} of {len(numbers)} bytes")
    if end - begin != prod(shape) * dtype.itemsize:
        raise ValueError(f"{end - begin} bytes for a tensor of shape {shape} in {entry['dtype']}")
    if begin == end:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(numbers[begin:end]), dtype=dtype).reshape(shape)
