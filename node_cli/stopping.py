"""Stopping on a signal: after the step in progress and its checkpoint, or at once."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# What a terminal, a scheduler or a limit sends to a process that is to end; Windows has fewer.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)
BY_HAND = (signal.SIGINT, signal.SIGTERM)

REPEATED = 1.0
"""Seconds within which a second signal is the same wish as the first: some are sent twice."""

PATIENCE = 10.0
"""Seconds for ending after a stop at once, within which further signals change nothing."""


class Stopped(KeyboardInterrupt):
    """A signal has stopped the process at once."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interrupted(Stopped):
    """The run has stopped on a signal, and its checkpoint is written."""


def exit_code(error: KeyboardInterrupt) -> int:
    """130 after SIGINT and SIGTERM, 128 + n after another signal n."""
    number = error.number if isinstance(error, Stopped) else signal.SIGINT
    return 130 if number in BY_HAND else 128 + number


class StopRequest:
    """Whether a signal has asked the run to stop, and which (0: none)."""

    def __init__(self) -> None:
        self.number = 0
        self.since = 0.0

    @property
    def requested(self) -> bool:
        return self.number != 0


class _Process:
    """How this process takes a signal at the moment.

    ``request``: what a signal only makes a request of. ``holding``: whether signals wait, and
    ``held`` is the one that does. ``pass_on``: what other processes are told, before this one stops
    at once. ``stopped``: when it last did.
    """

    def __init__(self) -> None:
        self.request: StopRequest | None = None
        self.holding = False
        self.held = 0
        self.pass_on: Callable[[int], None] = lambda number: None
        self.stopped = -PATIENCE

    def handle(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal. Raises ``Stopped`` where it stops the process at once."""
        now, request = time.monotonic(), self.request
        if self.holding:
            self.held = number
        elif request is not None and not request.requested:
            request.number, request.since = number, now
        elif request is not None and (number not in BY_HAND or now - request.since < REPEATED):
            pass
        elif now - self.stopped >= PATIENCE:
            self.stopped = now
            self.pass_on(number)
            raise Stopped(number)


_PROCESS = _Process()


@contextmanager
def stops_on_signal(*, even_if_ignored: bool = False) -> Iterator[None]:
    """Within the context ``SIGNALS`` raise ``Stopped``, those that the process was told to ignore
    (by nohup) aside; outside the main thread nothing changes, since signals do not reach others.

    ``even_if_ignored``: SIGINT and SIGTERM in any case.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in SIGNALS:
        ignored = signal.getsignal(number) is signal.SIG_IGN
        if not ignored or (even_if_ignored and number in BY_HAND):
            before[number] = signal.signal(number, _PROCESS.handle)
    _PROCESS.stopped = -PATIENCE
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


@contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turn a signal into a request within the context. A second SIGINT or SIGTERM stops at once.

    Raises ``Stopped`` in the end where the request came too late to be seen.
    """
    stop = StopRequest()
    with stops_on_signal(even_if_ignored=True):
        _PROCESS.request = stop
        try:
            yield stop
        finally:
            if stop.requested:  # it ends now: another signal must not cost its last words
                _PROCESS.stopped = time.monotonic()
            _PROCESS.request = None
        if stop.requested:
            _PROCESS.pass_on(stop.number)
            raise Stopped(stop.number)


@contextmanager
def passing_on(to: Callable[[int], None]) -> Iterator[None]:
    """Within the context ``to`` is called with a signal that is to stop the process at once, which
    does so when it returns."""
    before, _PROCESS.pass_on = _PROCESS.pass_on, to
    try:
        yield
    finally:
        _PROCESS.pass_on = before


@contextmanager
def signals_held() -> Iterator[None]:
    """Let signals wait until the context is left, which then raises ``Stopped``."""
    if _PROCESS.holding:
        yield
        return
    _PROCESS.holding, _PROCESS.held = True, 0
    try:
        yield
    finally:
        _PROCESS.holding = False
    if _PROCESS.held:
        _PROCESS.handle(_PROCESS.held)
