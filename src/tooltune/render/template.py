"""One chat template, applied: the only place that calls `apply_chat_template` for rendering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tooltune.errors import UserError
from tooltune.render.spec import RenderSpec

Messages = Sequence[Mapping[str, Any]]


class ChatTokenizer(Protocol):
    """What rendering asks of a Hugging Face tokenizer."""

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any: ...
    def __call__(self, text: str, **kwargs: Any) -> Any: ...
    def decode(self, token_ids: Any, **kwargs: Any) -> str: ...


class TemplateError(Exception):
    """The template itself raised; `str` is its own message, on one line."""


class ChatTemplate:
    """A tokenizer's (or an override) template with its fixed arguments.

    `renders` counts the template calls made: the deterministic cost that benchmarks report.
    """

    def __init__(self, tokenizer: ChatTokenizer, spec: RenderSpec) -> None:
        self._tokenizer = tokenizer
        self._kwargs = dict(spec.chat_template_kwargs)
        if spec.chat_template is not None:
            self._kwargs["chat_template"] = spec.chat_template
        self.renders = 0

    def source(self, tools: Sequence[Mapping[str, Any]] | None = None) -> str:
        """The Jinja text in force.

        Raises: UserError when the tokenizer brings no template and none was given.
        """
        override = self._kwargs.get("chat_template")
        if override is not None:
            return str(override)
        get = getattr(self._tokenizer, "get_chat_template", None)
        try:
            return (
                str(get(None, tools)) if get else str(getattr(self._tokenizer, "chat_template", ""))
            )
        except ValueError as error:
            raise UserError(
                "the tokenizer has no chat template, so nothing says how a conversation becomes "
                "tokens",
                fix="give one with `model.chat_template` (inline Jinja or a path), or start from "
                "the model's instruct version, whose tokenizer has one",
            ) from error

    def render(
        self,
        messages: Messages,
        tools: Sequence[Mapping[str, Any]] | None,
        *,
        generation_prompt: bool,
        **overrides: Any,
    ) -> str:
        """Render to text exactly as an inference server would.

        Raises: TemplateError with the template's own message if it raises.
        """
        self.renders += 1
        try:
            text = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                tools=list(tools) if tools else None,
                add_generation_prompt=generation_prompt,
                tokenize=False,
                **{**self._kwargs, **overrides},
            )
        except Exception as error:  # templates raise whatever their author chose
            raise TemplateError(" ".join(f"{type(error).__name__}: {error}".split())) from error
        if not isinstance(text, str):
            raise TemplateError(f"the template gave {type(text).__name__}, not text")
        return text
