"""Random numbers as a function of (seed, purpose), so that none depends on what was drawn before.

A resumed run draws what the uninterrupted one would have drawn, and an evaluation takes nothing
away from training.
"""

import hashlib

import torch


def stream(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose: ``stream(seed, "order", epoch)``, say."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))


def whole_number(generator: torch.Generator) -> int:
    """A seed for another generator, drawn from this one."""
    return int(torch.randint(2**63 - 1, (), generator=generator))
