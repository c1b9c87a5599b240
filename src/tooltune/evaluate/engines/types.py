"""What an engine takes and gives: prompts with an optional draft in, generated token ids out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

FinishReason = Literal["stop", "length"]

Progress = Callable[[int, int], None]
"""Called as `progress(requests done, requests in all)`."""


@dataclass(frozen=True, slots=True)
class Request:
    """One turn to generate.

    `prompt_ids` is fed to the model. `draft_ids` is a guess at the answer, stop token included
    (the ground truth); it makes generation cheaper and never changes it. It may be empty.
    """

    prompt_ids: tuple[int, ...]
    draft_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """What the model answered.

    token_ids: the generated ids; the stop token is included when one was generated.
    finish_reason: "stop", or "length" when `max_new_tokens` came first.
    teacher_forced_exact: whether every draft token is the arg-max given the draft before it; None
        without a draft. Only the first `max_new_tokens` tokens of a draft count.
    draft_nll: sum of the negative log-likelihoods (nats) of those draft tokens; None without any.
    ties: generated positions whose two best logits lie closer than `TIE_MARGIN`, where another
        order of the same sums may choose the other token.
    """

    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    teacher_forced_exact: bool | None = None
    draft_nll: float | None = None
    ties: int = 0


TIE_MARGIN = 1e-3


@dataclass(slots=True)
class Counters:
    """Work done by an engine; the same requests give the same numbers.

    prefill_tokens: tokens read to verify drafts (shared prefixes count once, padding not at all).
    decode_tokens: tokens generated one forward at a time.
    """

    requests: int = 0
    agreed_drafts: int = 0  # requests that needed no decoding
    prefill_tokens: int = 0
    prefill_forwards: int = 0
    decode_tokens: int = 0
    decode_forwards: int = 0


class Generate(Protocol):
    """The seam between the evaluator and a way to generate."""

    def __call__(
        self,
        model: Any,
        requests: Sequence[Request],
        *,
        stop_ids: frozenset[int],
        max_new_tokens: int,
        pad_token_id: int = 0,
        do_sample: bool = False,
        counters: Counters | None = None,
        on_progress: Progress | None = None,
    ) -> list[Generation]:
        """Generate for every request; generations in the order of the requests."""
        ...


def check_requests(requests: Sequence[Request], max_new_tokens: int) -> None:
    """Raise ValueError where no generation is defined."""
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
    for i, request in enumerate(requests):
        if not request.prompt_ids:
            raise ValueError(f"request {i} has an empty prompt: there is nothing to continue")
