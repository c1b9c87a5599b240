"""One chat template, applied: the only place that calls `apply_chat_template` for rendering."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from tooltune.errors import UserError
from tooltune.render.jinja import direct_renderer
from tooltune.render.spec import RenderSpec

logger = logging.getLogger(__name__)

Messages = Sequence[Mapping[str, Any]]


class ChatTokenizer(Protocol):
    """What rendering asks of a Hugging Face tokenizer."""

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any: ...
    def get_chat_template(self, chat_template: str | None, *, tools: Any) -> str: ...
    def __call__(self, text: str, **kwargs: Any) -> Any: ...
    def decode(self, token_ids: Any, **kwargs: Any) -> str: ...


class TemplateError(Exception):
    """The template itself raised; `str` is its own message, on one line."""


def template_text(template: str | Path) -> str:
    """Jinja source given as such or as a path: a `Path`, or a string without a brace.

    Raises: UserError where the file cannot be read.
    """
    if isinstance(template, str) and "{" in template:
        return template
    try:
        return Path(template).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read the chat template {template}: {error}",
            fix="set chat_template to a readable Jinja file or to the Jinja text itself",
        ) from error


class ChatTemplate:
    """A tokenizer's (or an override) template with its fixed arguments.

    The clock that templates read (`strftime_now`: gpt-oss, Llama-3.2) stands still at the
    specification's date: a run over midnight, or resumed, sees the same prompts.
    `renders` counts the template calls made: the deterministic cost that benchmarks report.
    """

    def __init__(self, tokenizer: ChatTokenizer, spec: RenderSpec) -> None:
        self._tokenizer = tokenizer
        self._kwargs = dict(spec.chat_template_kwargs)
        self._override = spec.chat_template
        self._now = datetime.fromisoformat(spec.date) if spec.date else datetime.now()
        self._frozen: dict[bool, str] = {}  # the source without and with tools, its clock stopped
        self.dates: set[str] = set()  # what the stopped clock says, in the formats asked of it
        self._direct = direct_renderer(tokenizer)
        self._compared = 0  # renders that the direct way gave alike
        self.renders = 0

    def sources(self, tools: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """The Jinja texts in force: without tools and, if another (`tool_use`), with them.

        Raises: UserError when the tokenizer brings no template and none was given.
        """
        try:
            texts = [
                self._tokenizer.get_chat_template(self._override, tools=given)
                for given in (None, list(tools))
            ]
        except ValueError as error:
            raise UserError(
                "the tokenizer has no chat template, so nothing says how a conversation becomes "
                "tokens",
                fix="give one with `model.chat_template` (inline Jinja or a path), or start from "
                "the model's instruct version, whose tokenizer has one",
            ) from error
        return tuple(dict.fromkeys(texts))

    def render(
        self,
        messages: Messages,
        tools: Sequence[Mapping[str, Any]] | None,
        *,
        generation_prompt: bool,
        **overrides: Any,
    ) -> str:
        """Render to text exactly as an inference server would: as `apply_chat_template` does.

        The first renders, those of the probe among them, are made both by it and directly; while
        they are alike, later ones are made directly, up to one that cannot be.

        Raises: TemplateError with the template's own message if it raises.
        """
        self.renders += 1
        kwargs = {**self._kwargs, **overrides}
        try:
            source = self._stopped_source(tools)
            if self._direct is not None and self._compared >= _COMPARED:
                with suppress(Exception):  # only `apply_chat_template` says that a row is refused
                    return self._direct(source, messages, tools, generation_prompt, kwargs)
            text = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=list(tools) if tools else None,
                chat_template=source,
                add_generation_prompt=generation_prompt,
                tokenize=False,
                **kwargs,
            )
        except Exception as error:  # templates raise whatever their author chose
            raise TemplateError(" ".join(f"{type(error).__name__}: {error}".split())) from error
        if not isinstance(text, str):
            raise TemplateError(f"the template gave {type(text).__name__}, not text")
        if self._direct is not None:
            self._compare(text, source, messages, tools, generation_prompt, kwargs)
        return text

    def _compare(self, text: str, *how: Any) -> None:
        """Go on without the direct way unless it gives `text` too."""
        assert self._direct is not None
        self._compared += 1
        try:
            if self._direct(*how) == text:
                return
        except Exception as error:  # whatever it is, `apply_chat_template` did not raise it
            logger.debug("rendering through apply_chat_template: %s", error)
        self._direct = None

    def _stopped_source(self, tools: Sequence[Mapping[str, Any]] | None) -> str:
        key = bool(tools)
        if key not in self._frozen:
            source = self._tokenizer.get_chat_template(self._override, tools=tools or None)
            self._frozen[key] = _CLOCK.sub(self._time, source)
        return self._frozen[key]

    def _time(self, call: re.Match[str]) -> str:
        """A Jinja string literal in place of a call of the clock."""
        date = self._now.strftime(call["format"])
        self.dates.add(date)
        return json.dumps(date)


_COMPARED = 8
_CLOCK = re.compile(r"""strftime_now\(\s*(?P<quote>["'])(?P<format>[^"'\\]*)(?P=quote)\s*\)""")
