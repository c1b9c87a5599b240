"""A chat template called without the copies that `apply_chat_template` makes of all it is given.

For every render transformers rebuilds messages and tool schemas out of plain types and prints the
schemas anew, which for long ones costs more than the template itself. What is rendered here is
plain already, and the sandbox lets no template change it; so the JSON of an object is remembered as
long as the object is. Whoever uses this compares first (`ChatTemplate.render`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

_REMEMBERED = 4096  # objects whose JSON is kept


def direct_renderer(tokenizer: Any) -> Callable[..., str] | None:
    """A function of (source, messages, tools, generation prompt, arguments), or None.

    None where the tokenizer has an `apply_chat_template` of its own, or transformers no longer
    has the compiler that its own calls (`utils/chat_template_utils.py`).
    """
    try:
        from transformers import PreTrainedTokenizerBase
        from transformers.utils.chat_template_utils import _compile_jinja_template
    except ImportError:
        return None
    own = getattr(type(tokenizer), "apply_chat_template", None)
    if own is not PreTrainedTokenizerBase.apply_chat_template:
        return None
    special = dict(tokenizer.special_tokens_map)

    @lru_cache(maxsize=8)
    def compiled(source: str) -> Any:
        theirs = _compile_jinja_template(source)
        environment = theirs.environment.overlay()  # same sandbox, extensions and globals
        tojson = _remembering(theirs.environment.filters["tojson"])
        environment.filters = {**theirs.environment.filters, "tojson": tojson}
        return environment.from_string(source)

    def render(
        source: str,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        generation_prompt: bool,
        kwargs: Mapping[str, Any],
    ) -> str:
        text: str = compiled(source).render(
            messages=[_as_transformers_does(message) for message in messages],
            tools=list(tools) if tools else None,
            documents=None,
            add_generation_prompt=generation_prompt,
            **{**special, **kwargs},
        )
        return text

    return render


def _remembering(tojson: Callable[..., str]) -> Callable[..., str]:
    """`tojson` that prints the same object in the same way once."""
    known: dict[Any, tuple[Any, str]] = {}

    def remembering(value: Any, *args: Any, **kwargs: Any) -> str:
        if not isinstance(value, (dict, list)):
            return tojson(value, *args, **kwargs)
        key = (id(value), args, *kwargs.items())
        found = known.get(key)
        if found is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            # The value is kept too: while it is, no other object has its id.
            found = known[key] = (value, tojson(value, *args, **kwargs))
        return found[1]

    return remembering


def _as_transformers_does(message: Mapping[str, Any]) -> dict[str, Any]:
    """Drop keys without a value; give reasoning under gpt-oss' name for it too."""
    plain = {key: value for key, value in message.items() if value is not None}
    if "reasoning_content" in plain:
        plain = {"thinking": plain["reasoning_content"], **plain}
    return plain
