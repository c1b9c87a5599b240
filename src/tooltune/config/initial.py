"""A first config for data that were looked at: every choice with the number it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tooltune.config.defaults import LORA_DIM, LR_LORA
from tooltune.config.yamlfile import dump_yaml

_MEASURED_TURNS = 100  # held-out turns that call tools: a 95 % interval of about ten points
_FRACTIONS = (0.05, 0.25)
_STEPS = 150  # fewer seldom suffice to learn a call syntax
_BATCHES = (4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What was found in the data under the model's template.

    formats: why rows were read as they were, by format. groups: of traces that a split keeps
    together. answer_tokens: of the longest turn that calls tools. kwargs: template arguments that
    the data want, with the reason.
    """

    source: Mapping[str, str]
    model: str
    formats: Mapping[str, str]
    rows_read: int
    traces: int
    groups: int
    call_turns: int
    answer_tokens: int
    longest_tokens: int
    kwargs: Mapping[str, Any]
    kwargs_reason: str = ""


def initial_config(facts: DataFacts, output_dir: str) -> str:
    """YAML with comments; `load_config` accepts it as it is."""
    fraction = _fraction(facts) if facts.groups > 1 else 0.0
    train = max(1, round(facts.traces * (1 - fraction)))
    batch = max(b for b in _BATCHES if b == _BATCHES[0] or train // b >= _STEPS // 3)
    epochs = min(3, max(1, -(-_STEPS * batch // train)))
    formats = "; ".join(f"{name}: {why}" for name, why in facts.formats.items())
    lines = [
        f"# {facts.rows_read:,} rows read, {facts.traces:,} usable traces; {_comment(formats)}",
        "# What is not here has a default; `tooltune schema` describes every key.",
        "",
        *_section("model", _model(facts), facts.kwargs_reason),
        *_section("dataset", dict(facts.source)),
        *(_held_out(facts, fraction) if fraction else _NOTHING_HELD_OUT),
        *_section("peft", {"dim": LORA_DIM}, "LoRA; without this section all weights are trained"),
        *_section(
            "step_scheduler",
            {"global_batch_size": batch, "num_epochs": epochs},
            f"{-(-train // batch) * epochs:,} steps; the longest trace has "
            f"{facts.longest_tokens:,} tokens",
        ),
        *_section("optimizer", {"lr": LR_LORA}, "a very small model wants more, such as 2e-3"),
        *dump_yaml({"seed": 0, "output_dir": output_dir}).splitlines(),
    ]
    return "\n".join(lines) + "\n"


_NOTHING_HELD_OUT = (
    "# one conversation cannot be divided: nothing is held out, so nothing is measured",
    "validation_dataset: null",
    "tool_call_eval:",
    "  enabled: false",
    "",
)


def _held_out(facts: DataFacts, fraction: float) -> list[str]:
    return [
        *_section(
            "validation_dataset",
            {"fraction": fraction},
            f"held out by conversation: about {facts.call_turns * fraction:.0f} turns that call "
            "tools to measure on",
        ),
        *_section(
            "tool_call_eval",
            {"max_new_tokens": _budget(facts.answer_tokens)},
            f"the longest answer with calls has {facts.answer_tokens:,} tokens",
        ),
    ]


def _fraction(facts: DataFacts) -> float:
    low, high = _FRACTIONS
    wanted = _MEASURED_TURNS / max(facts.call_turns, 1)
    return round(min(max(wanted, low), high), 2)


def _budget(tokens: int) -> int:
    """Half as much again as the longest answer, in steps of 32."""
    return max(64, -(-tokens * 3 // 2 // 32) * 32)


def _model(facts: DataFacts) -> dict[str, Any]:
    model: dict[str, Any] = {"pretrained_model_name_or_path": facts.model}
    if facts.kwargs:
        model["chat_template_kwargs"] = dict(facts.kwargs)
    return model


def _section(name: str, values: Mapping[str, Any], comment: str = "") -> list[str]:
    said = [f"# {_comment(comment)}"] if comment else []
    return [*said, *dump_yaml({name: dict(values)}).splitlines(), ""]


def _comment(text: str) -> str:
    """One printable line: text from data must not end a comment and become keys."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(shown.split())
