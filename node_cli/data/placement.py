"""Where the images of a run lie: on the device if they fit, else on the host.

The rule: on the device where all splits together take at most ``SHARE`` of its free memory, since
the training needs the rest; else on the host, whence each batch is copied ahead of its use. A CPU
has no memory of its own, nothing is copied there.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from node_cli.data.images import ImageSet

SHARE = 0.5
AHEAD = 2  # batches that are on their way beside the one in use


def free_memory(device: torch.device) -> int | None:
    """The free memory of a device in bytes; None where it has none of its own, or does not tell."""
    if device.type != "cuda":
        return None
    free: int = torch.cuda.mem_get_info(device)[0]
    return free


def place(splits: Mapping[str, ImageSet], device: torch.device) -> dict[str, ImageSet]:
    """The splits on the device where they fit, else as they are, on the host."""
    free = free_memory(device)
    size = sum(images.pixels.nbytes + images.labels.nbytes for images in splits.values())
    if free is not None and size > SHARE * free:
        return dict(splits)
    return {name: images.to(device) for name, images in splits.items()}


def copied_ahead(
    images: ImageSet, parts: Iterable[Tensor | slice], device: torch.device
) -> Iterator[ImageSet]:
    """Parts of ``images``, which lie on the host, as batches on the device.

    A thread of its own gathers each batch in pinned memory and copies it in a stream of its own, so
    that neither waits for the computation, nor that for them. The batches are those that the same
    parts of a set on the device are.
    """
    on_cuda = device.type == "cuda"
    stream = torch.cuda.Stream(device) if on_cuda else None

    def copy(part: Tensor | slice) -> tuple[ImageSet, torch.cuda.Event | None]:
        batch = images[part]
        if stream is None:
            return batch.to(device), None
        with torch.cuda.stream(stream):
            batch = ImageSet(batch.pixels.pin_memory(), batch.labels.pin_memory())
            return batch.to(device, non_blocking=True), stream.record_event()

    def arrived(copying: "Future[tuple[ImageSet, torch.cuda.Event | None]]") -> ImageSet:
        batch, event = copying.result()
        if event is not None:
            current = torch.cuda.current_stream(device)
            current.wait_event(event)
            for tensor in (batch.pixels, batch.labels):
                tensor.record_stream(current)  # not to be freed before it was used there
        return batch

    with ThreadPoolExecutor(1) as thread:
        waiting: deque[Future[tuple[ImageSet, torch.cuda.Event | None]]] = deque()
        for part in parts:
            waiting.append(thread.submit(copy, part))
            if len(waiting) > AHEAD:
                yield arrived(waiting.popleft())
        while waiting:
            yield arrived(waiting.popleft())
