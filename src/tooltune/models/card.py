"""The model card (README.md) of a saved model: generated from what its run recorded.

The head of the card is metadata for the hub (https://huggingface.co/docs/hub/model-cards); the text
below it is the template `templates/model_card.md.jinja`. Nothing of the machine that trained the
model stands in it: of paths only the last part, and secrets are scrubbed by value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from tooltune.models.base_card import BaseCard
from tooltune.render.spec import RenderSpec
from tooltune.scrub import scrub_text

FILE = "README.md"
_TEMPLATE = "model_card.md.jinja"
_ROOM_FOR_A_CALL = 256  # new tokens; an evaluation may have allowed fewer
_ONE_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_HUB_DATA = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class CardData:
    """A source of traces: its name (a hub id, or the last part of a path), what it was for, and
    the SHA-256 and size of its files, where they were local."""

    name: str
    use: str
    hub_id: str | None = None
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class CardResult:
    """One line of the results: a metric of a set of held-out turns, base against tuned.

    Rates from 0 to 1; `ci95` is the interval of the difference; `turns` is how many say something
    about the metric. `metric`: its key without prefix (`accuracy`, `abstain_accuracy`).
    """

    dataset: str
    metric: str
    turns: int
    base: float
    tuned: float
    ci95: tuple[float, float]


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says. See `train/folder/card.py` for how a run's files give it.

    `training`: rows of a table, what and how much. `losses`: validation loss before and after.
    `counts`: `train` and `held_out` traces, `read` and `rejected` rows, `overlap` of held-out
    traces that were trained on. `rejected`: rows by code. `template`: the profile of the chat
    template. `call_format`: the family of the call syntax. `results` are of the very weights that
    the card is for, or empty.
    """

    title: str
    base: BaseCard
    lora: bool
    training: Sequence[tuple[str, str]] = ()
    losses: tuple[float, float] | None = None
    data: Sequence[CardData] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    render: RenderSpec = field(default_factory=RenderSpec)
    template: Mapping[str, Any] = field(default_factory=dict)
    call_format: str | None = None
    max_new_tokens: int = 256
    results: Sequence[CardResult] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def write_model_card(directory: Path, facts: CardFacts) -> Path:
    """Write `README.md` into a folder that holds a whole model or a PEFT adapter; return its path.

    A card that is there is replaced (PEFT writes an empty form). Raises OSError.
    """
    path = directory / FILE
    adapter = (directory / "adapter_config.json").is_file()
    bare = adapter and not (directory / "tokenizer_config.json").is_file()
    path.write_text(model_card(facts, adapter=adapter, bare=bare), encoding="utf-8")
    return path


def model_card(facts: CardFacts, *, adapter: bool = False, bare: bool = False) -> str:
    """The text of a card: metadata in YAML between `---` lines, then Markdown.

    `bare`: the folder holds an adapter without tokenizer, template and generation config.
    """
    metadata = card_metadata(facts, adapter=adapter)
    body = _template().render(
        facts=facts,
        adapter=adapter,
        bare=bare,
        title=plain(facts.title),
        base=_linked_base(facts.base),
        base_argument=json.dumps(facts.base.hub_id or as_code(facts.base.name)),
        kwargs=_python_arguments(facts.render.chat_template_kwargs),
        answer_limit=max(_ROOM_FOR_A_CALL, facts.max_new_tokens),
        metrics=_METRICS,
        plain=plain,
        percent=_percent,
        points=_points,
        warnings=_warnings(facts),
    )
    text = f"---\n{metadata}\n---\n\n{body.strip()}\n"
    return scrub_text(re.sub(r"\n{3,}", "\n\n", text))


def card_metadata(facts: CardFacts, *, adapter: bool) -> str:
    """The YAML at the head: what the hub shows and searches. Only values that it accepts."""
    from huggingface_hub import ModelCardData

    base, data = facts.base, sorted({d.hub_id for d in facts.data if d.hub_id})
    given: dict[str, Any] = {
        "base_model": base.hub_id,
        "base_model_relation": ("adapter" if adapter else "finetune") if base.hub_id else None,
        "library_name": "peft" if adapter else "transformers",
        "license": base.license,
        "license_name": base.license_name if base.license == "other" else None,
        "license_link": base.license_link if base.license == "other" else None,
        "pipeline_tag": "text-generation",
        "tags": ["tool-calling", "function-calling", "tooltune", *(["lora"] if facts.lora else [])],
        "datasets": [name for name in data if _HUB_DATA.fullmatch(name)] or None,
    }
    card = ModelCardData(**{key: value for key, value in given.items() if value is not None})
    return str(card.to_yaml()).strip()


def plain(text: str) -> str:
    """Text of unknown origin in one line of Markdown that formats and links nothing."""
    line = _ONE_LINE.sub(" ", str(text))
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", line).strip()


def as_code(text: str) -> str:
    """Text of unknown origin as it may stand between backticks, in one line."""
    return _ONE_LINE.sub(" ", text).replace("`", "'")


_METRICS = {
    "accuracy": "turns that should call: all calls right, none too many",
    "abstain_accuracy": "turns that should not call: left alone",
    "balanced_accuracy": "mean of the two",
}


@cache
def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    text = (resources.files("tooltune.models") / "templates" / _TEMPLATE).read_text("utf-8")
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    return environment.from_string(text)


def _linked_base(base: BaseCard) -> str:
    if base.hub_id is None:
        return f"`{as_code(base.name)}`"
    return f"[{plain(base.name)}](https://huggingface.co/{base.hub_id})"


def _python_arguments(kwargs: Mapping[str, Any]) -> list[str]:
    """Template arguments as keyword arguments in Python; values that are JSON only."""
    lines = []
    for key, value in kwargs.items():
        if key.isidentifier():
            lines.append(f"{key}={json.loads(json.dumps(value, default=str))!r}")
    return lines


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"


def _warnings(facts: CardFacts) -> list[str]:
    """What the results themselves warn of."""
    found = []
    for result in facts.results:
        if result.metric in ("accuracy", "abstain_accuracy") and result.ci95[1] < 0:
            what = "that should" + ("" if result.metric == "accuracy" else " not")
            found.append(
                f"It does worse than its base at turns {what} call a tool "
                f"(`{as_code(result.dataset)}`): {_percent(result.tuned)} right against "
                f"{_percent(result.base)}."
            )
    few = [r for r in facts.results if r.metric == "accuracy" and r.turns < 200]
    if few:
        sizes = ", ".join(f"{r.turns} on `{as_code(r.dataset)}`" for r in few)
        found.append(f"Few turns were measured ({sizes}): mind the intervals.")
    return found
