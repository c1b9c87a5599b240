"""Options that several commands share."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

ChatTemplate = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Jinja file that replaces the tokenizer's chat template."),
]
ChatTemplateKwargs = Annotated[
    str | None,
    typer.Option(
        metavar="JSON", help="Arguments of the template, such as '{\"enable_thinking\": false}'."
    ),
]


def read_kwargs(text: str | None) -> dict[str, Any]:
    """The object of `--chat-template-kwargs`. Raises UserError for what is no JSON object."""
    from tooltune.errors import UserError

    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        value = error
    if not isinstance(value, dict):
        why = f" ({value})" if isinstance(value, Exception) else ""
        raise UserError(
            f"--chat-template-kwargs {text!r} is no JSON object{why}",
            fix="write it as '{\"enable_thinking\": false}', in single quotes",
        )
    return value
