"""The processes that train one model together, as torchrun starts them; each is a rank.

Everything that needs another process goes through ``Ranks``. In a run of one process its methods do
nothing, and torch.distributed is never imported.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from node_cli.errors import UserError, one_line

Made = TypeVar("Made")


class RankLost(ConnectionError):
    """Another process has ended, so that this one cannot go on."""

    def __init__(self) -> None:
        super().__init__("another process of this training has ended")


class Ranks:
    """One process alone: the first of one.

    ``rank``: from 0 to ``size`` - 1; the ``first`` one writes all files, and prints. ``raised``:
    the error that was last raised in all processes.
    """

    rank = 0
    size = 1
    raised: BaseException | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    def part(self, images: int) -> tuple[slice, int]:
        """Which of so many images are this process's, and how many of them count.

        The parts are as equal as they can be, those of the first ranks one larger. A process that
        none is left for takes the first image, of which none counts: it has to make the same steps
        as the others.
        """
        size, rest = divmod(images, self.size)
        mine = size + (self.rank < rest)
        start = self.rank * size + min(self.rank, rest)
        return (slice(start, start + mine), mine) if mine else (slice(0, 1), 0)

    def together(self) -> AbstractContextManager[None]:
        """Within it, an exception of any process is raised in all of them, that of the lowest rank.
        An interruption is not. Cost: one small message."""
        return nullcontext()

    def in_step(self, *common: type[BaseException]) -> AbstractContextManager[None]:
        """Within it, an exception of this process that the others do not raise makes it ``leave``
        them: any but those of ``together`` and of the types ``common``."""
        return nullcontext()

    def tell(self, what: object) -> None:
        """The first process: hand ``what`` to the others, which wait in ``told``."""

    def told(self) -> Any:
        """The other processes: what the first one tells."""
        raise AssertionError("there is nobody who would tell")

    def of_first(self, make: Callable[[], Made]) -> Made:
        """What ``make`` returns in the first process, or raises; the others do not call it."""
        return make()

    def one_first(self, make: Callable[[], Made]) -> Made:
        """``make()``, by one process of each machine before the others: a download, say."""
        return make()

    def add_up(self, tensor: Tensor) -> None:
        """Sum a tensor over all processes, in place."""

    def rows(self, row: Sequence[float]) -> list[list[float]]:
        """The numbers of each process, by rank."""
        return [[*row]]

    def gathered(self, what: Made) -> list[Made]:
        """``what`` of each process, by rank. Cost: it is pickled, and sent to all."""
        return [what]

    def largest(self, number: int) -> int:
        """The largest of the numbers of all processes."""
        return number

    def take_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors, of any dtypes, by those of the first process."""

    def check_same(self, key: str, value: str) -> None:
        """Raise ``UserError`` unless all processes have the same value."""

    def leave(self) -> None:
        """Leave the others, who raise ``RankLost`` where they wait for this process."""


ALONE = Ranks()


class Several(Ranks):
    """One of several processes, by torch.distributed. Each method has to be called by all of them,
    in the same order. Raises ``RankLost`` where one of them has ended.

    Tensors on the CPU go by gloo, those on CUDA by NCCL. All get the same bits.
    """

    def __init__(self) -> None:
        """``torch.distributed`` has been initialised. Nothing has failed yet."""
        from torch import distributed

        self.torch = distributed
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        self.has_left = False

    @contextmanager
    def together(self) -> Iterator[None]:
        error: Exception | None = None
        try:
            yield
        except RankLost:
            raise
        except Exception as raised:
            error = raised
        self.agree(error)

    def agree(self, error: Exception | None) -> None:
        """Raise in all processes what the lowest rank among those with an error has."""
        first = self.size - self.largest(0 if error is None else self.size - self.rank)
        if first == self.size:
            return
        shared = [_sendable(error) if first == self.rank and error else None]
        self._send(shared, first)
        self.raised = error if first == self.rank else shared[0]
        assert self.raised is not None
        raise self.raised

    @contextmanager
    def in_step(self, *common: type[BaseException]) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if error is not self.raised and not isinstance(error, common):
                self.leave()
            raise

    def tell(self, what: object) -> None:
        if self.first and not self.has_left:
            self._send([what], 0)

    def told(self) -> Any:
        box: list[object] = [None]
        self._send(box, 0)
        return box[0]

    def of_first(self, make: Callable[[], Made]) -> Made:
        made: list[Any] = [None]
        with self.together():
            if self.first:
                made = [make()]
        self._send(made, 0)
        found: Made = made[0]
        return found

    def one_first(self, make: Callable[[], Made]) -> Made:
        is_first = os.environ.get("LOCAL_RANK", "0") == "0"
        made: list[Made] = []
        for turn in (True, False):
            with self.together():
                if turn == is_first:
                    made = [make()]
        return made[0]

    def add_up(self, tensor: Tensor) -> None:
        self._call(self.torch.all_reduce, tensor)

    def rows(self, row: Sequence[float]) -> list[list[float]]:
        table = torch.zeros(self.size, len(row), dtype=torch.float64)
        table[self.rank] = torch.tensor(row, dtype=torch.float64)
        self.add_up(table)
        found: list[list[float]] = table.tolist()
        return found

    def gathered(self, what: Made) -> list[Made]:
        found: list[Any] = [None] * self.size
        self._call(self.torch.all_gather_object, found, what)
        return found

    def largest(self, number: int) -> int:
        box = torch.tensor(number)
        self._call(self.torch.all_reduce, box, self.torch.ReduceOp.MAX)
        return int(box)

    def take_from_first(self, tensors: Iterable[Tensor]) -> None:
        for tensor in tensors:
            self._call(self.torch.broadcast, tensor, 0)

    def check_same(self, key: str, value: str) -> None:
        expected = self.of_first(lambda: value)
        with self.together():
            if value != expected:
                raise UserError(
                    f"{key}: {expected} in the first process, {value} in process {self.rank}; "
                    "all need the same"
                )

    def leave(self) -> None:
        if not self.has_left:
            self.has_left = True
            self.torch.destroy_process_group()

    def _send(self, box: list[Any], source: int) -> None:
        self._call(self.torch.broadcast_object_list, box, source, device=torch.device("cpu"))

    def _call(self, collective: Callable[..., Any], *given: Any, **named: Any) -> None:
        if self.has_left:
            raise RankLost
        try:
            collective(*given, **named)
        except RuntimeError as error:  # of gloo or NCCL
            raise RankLost from error


class _Process:
    """``ranks``: of this process."""

    def __init__(self) -> None:
        self.ranks = ALONE


_PROCESS = _Process()


def here() -> Ranks:
    """Return this process among those that train with it; ``ALONE`` where nobody does."""
    return _PROCESS.ranks


@contextmanager
def joined() -> Iterator[Ranks]:
    """Within it, this process is one of those that torchrun has started.

    Raises ``UserError`` where they do not find each other.
    """
    _take_own_card()
    from torch import distributed

    with_cuda = torch.cuda.is_available() and distributed.is_nccl_available()
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if with_cuda else "cpu:gloo")
    except (RuntimeError, ValueError) as error:
        raise UserError(f"torchrun: the processes do not meet ({one_line(error)})") from error
    ranks = _PROCESS.ranks = Several()
    try:
        yield ranks
    finally:
        _PROCESS.ranks = ALONE
        ranks.leave()


def _take_own_card() -> None:
    """Let this process see the CUDA card of its own number on this machine, and no other. torch
    reads the variable when it first asks for a card."""
    number = int(os.environ.get("LOCAL_RANK", "0"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = [str(number)] if visible is None else visible.split(",")[number : number + 1]
    os.environ["CUDA_VISIBLE_DEVICES"] = "".join(cards)


def _sendable(error: Exception) -> Exception:
    """The error, or where it cannot be pickled, one that says the same."""
    import pickle

    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {one_line(error)}")
    return error
