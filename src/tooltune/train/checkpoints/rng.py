"""The global random states, as JSON, from which a resumed run continues bitwise: a set per rank."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tooltune.train.checkpoints.meeting import Meeting


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def rng_states(world: Meeting) -> list[dict[str, Any]] | None:
    """On rank 0 the `rng_state` of every rank, in their order; None elsewhere."""
    return world.gather(rng_state())


def restore_rng_states(
    states: Sequence[Mapping[str, Any]], world: Meeting, *, seed: int, step: int
) -> list[str]:
    """Restore this rank's part of `rng_states`; return remarks on what cannot be restored.

    On another number of ranks every rank starts from a seed that (seed, step, rank) decide.
    """
    if len(states) == world.size:
        return restore_rng(states[world.rank])
    text = f"{seed}/{step}/{world.rank}".encode()
    own = int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
    seed_everything(own)
    return [
        f"the checkpoint was written by {len(states)} processes and there are {world.size} now: "
        f"random states start anew from seed {seed} and step {step}, so the run continues with "
        "the same weights and data, but not bitwise as it would have with as many"
    ]


def rng_state() -> dict[str, Any]:
    """The random states of Python, NumPy, torch CPU and the CUDA device in use, as JSON."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    cuda = torch.cuda.is_available()
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(kind), np.asarray(keys).tolist(), position, has_gauss, cached],
        "torch": _encode(torch.get_rng_state()),
        "cuda": _encode(torch.cuda.get_rng_state()) if cuda else None,
    }


def restore_rng(state: Mapping[str, Any]) -> list[str]:
    """Restore what `rng_state` returned; return remarks on what this machine cannot restore."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(_decode(state["torch"]))
    saved, here = state["cuda"] is not None, torch.cuda.is_available()
    if saved and here:
        torch.cuda.set_rng_state(_decode(state["cuda"]))
    if saved == here:
        return []
    there, now = ("a CUDA device", "a CPU") if saved else ("a CPU", "a CUDA device")
    return [
        f"the checkpoint was written on {there} and the run continues on {now}: "
        "not bitwise as it would have without the interruption"
    ]


def _encode(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode("ascii")


def _decode(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
