"""A field whose solves are compiled, and the functions and tapes that belong to it."""

import weakref
from collections.abc import Callable, Hashable, Sequence
from operator import is_

import torch
from torch import Tensor, nn

from node_cli.ode.checks import AGAIN, check_graph, checked, random_states
from node_cli.ode.engines.compiled.captured import Captured, CapturedField
from node_cli.ode.engines.compiled.function import Function, compiled
from node_cli.ode.engines.compiled.tape import Recording, Tape, new_tape
from node_cli.ode.failures import Unsuitable
from node_cli.ode.field import Autocast, Field
from node_cli.ode.jumps import OneSided
from node_cli.ode.solver import Keep
from node_cli.ode.tableau import Tableau

FEWEST_STEPS = 20_000
"""Training steps from which on compiling pays: the first time it takes about 35 s, and it saves
about 2 ms a step of a dense model (docs/speed.md)."""

FIRST_ROWS = 64
FIRST_BYTES = 2**26


class CompiledField(nn.Module):
    """A field without buffers; given one of these, the native engine solves in one graph.

    A solve is one loop, and so is its adjoint, so that a step costs no call from Python. Cost: ten
    seconds and more for each function and each shape of y (``enabled`` keeps the odd batch out of
    it). Do not use it for trainings of fewer than ``FEWEST_STEPS``.
    """

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        assert not any(True for _ in field.buffers())
        self.field = field
        self.enabled = True
        self._own = list(field.parameters())
        self._functions: dict[Hashable, Function] = {}
        self._captured: dict[Hashable, CapturedField] = {}
        self._lent: dict[Hashable, tuple[Tape, weakref.ref[Recording]]] = {}
        self._pieces: dict[Hashable, CompiledField] = {}  # no submodules: their field is this one's

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        dy: Tensor = self.field(t, y)
        return dy

    def within(self, start: float | None, end: float | None, inside: float) -> "CompiledField":
        """The field between two times at which it may jump (``OneSided``), compiled for itself."""
        bounds = start, end, inside
        if bounds not in self._pieces:
            self._pieces[bounds] = CompiledField(OneSided(self.field, *bounds))
        piece = self._pieces[bounds]
        piece.enabled = self.enabled
        piece.field.training = self.field.training
        return piece

    def has_its_own_parameters(self) -> bool:
        """Whether they are the objects that the field had when this was made."""
        now = list(self.field.parameters())
        return len(now) == len(self._own) and all(map(is_, now, self._own))

    def key(self, autocast: Autocast, y: Tensor) -> Hashable:
        """What the graphs of f depend on."""
        return (autocast.key, self.field.training, y.shape, y.dtype, y.device)

    def captured(self, autocast: Autocast, y: Tensor) -> CapturedField:
        """f for states like y."""
        key = self.key(autocast, y)
        if key not in self._captured:
            t = torch.zeros((), dtype=y.dtype, device=y.device)
            _check(autocast.around(checked(self.field)), t, y, self._own)
            self._captured[key] = CapturedField(self.field, autocast, t, y)
        return self._captured[key]

    def function(
        self,
        key: Hashable,
        device: torch.device,
        make: Callable[[], Function],
        what: str,
        *parts: Captured,
    ) -> Function:
        """The function of that key, compiled at its first use, without graph breaks; ``what``: it
        is, in words.

        Nothing is checked at later calls, so the key and the ``parts`` have to hold all that the
        code depends on beside the code of this package, and tensors have to be contiguous.
        """
        if key not in self._functions:
            texts = [repr(key), *(part.text for part in parts)]
            self._functions[key] = compiled(make, device, texts, what)
        return self._functions[key]

    def recording(
        self, key: Hashable, keep: Keep, tableau: Tableau, y: Tensor, saved: Sequence[Tensor]
    ) -> Recording:
        """An empty recording, on the tape of the last solve of this key where nobody holds its
        recording any more, since new memory costs as much as a small solve.

        Else on a new tape of that length; at first of a length guessed from the size of the state
        ``y`` and of what a stage has ``saved``.
        """
        tape, last = self._lent.get(key, (None, None))
        if tape is None or (last and last()):
            per_step = y.nbytes * 3 + tableau.stages * sum(x.nbytes for x in saved)
            rows = max(4, min(FIRST_ROWS, FIRST_BYTES // per_step)) if tape is None else tape.rows
            tape = new_tape(rows, keep, tableau, y, saved)
        recording = Recording(tape, tableau)
        self.lend(key, recording)
        return recording

    def lend(self, key: Hashable, recording: Recording) -> None:
        """Remember the tape of this recording for the solves of this key after its end."""
        self._lent[key] = recording.tape, weakref.ref(recording)


def _check(f: Field, t: Tensor, y: Tensor, parameters: Sequence[Tensor]) -> None:
    """What eager steps find out as they go, found before anything is compiled; one evaluation."""
    before = random_states(y.device)
    y = y.detach().clone().requires_grad_()
    with torch.enable_grad():
        check_graph(f(t, y), (y, *parameters))
    if random_states(y.device) != before:
        raise Unsuitable(f"f draws random numbers (dropout?): not with compile=true. {AGAIN}")
