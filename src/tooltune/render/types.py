"""What rendering yields: turns, each a prompt and the completion to learn."""

from __future__ import annotations

from dataclasses import dataclass

from tooltune.render.spec import Part


@dataclass(frozen=True, slots=True)
class Turn:
    """One assistant turn exactly as inference sees it.

    `prompt_ids` is what a server would feed the model; `completion_ids` what it must answer, its
    stop token last. `weights` holds one loss weight per completion token: 0.0 is no target.
    `index` is the turn's message index in its trace. `parts`, one per completion token, are there
    only where a renderer was asked to mark them.
    """

    trace_id: str
    index: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    weights: tuple[float, ...]
    prompt_text: str
    completion_text: str
    parts: tuple[Part, ...] | None = None

    def __post_init__(self) -> None:
        assert len(self.completion_ids) == len(self.weights)

    @property
    def length(self) -> int:
        """Tokens of prompt and completion."""
        return len(self.prompt_ids) + len(self.completion_ids)

    @property
    def n_targets(self) -> int:
        return sum(weight > 0 for weight in self.weights)
