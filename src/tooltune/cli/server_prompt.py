"""`tooltune check --server`: our prompts beside those that a server makes of the same messages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from tooltune.cli.output import console, many, printable

if TYPE_CHECKING:
    from tooltune.render.turns import Renderer
    from tooltune.traces.types import Trace

_COMPARED = 3  # traces
_WAYS = {
    "apply-template": "text and tokens, from the server's /apply-template and /tokenize",
    "tokenize": "token by token, from the server's /tokenize",
    "usage": "by their length alone: this server tells no more of them",
}


def check_prompts(
    url: str, model: str | None, renderer: Renderer, traces: Iterable[Trace]
) -> list[dict[str, Any]]:
    """Compare the prompts of the first traces. Raises UserError where the server gives none."""
    from tooltune.evaluate.server import ServerOptions, api_key_from_environment
    from tooltune.evaluate.server.prompts import compare_prompts

    options = ServerOptions(
        url,
        model=model,
        api_key=api_key_from_environment(),
        max_retries=2,
        extra_body=_template_arguments(renderer),
    )
    found = compare_prompts(options, renderer, traces, limit=_COMPARED)
    return [asdict(comparison) for comparison in found]


def _template_arguments(renderer: Renderer) -> dict[str, Any]:
    arguments = dict(renderer.spec.chat_template_kwargs)
    return {"chat_template_kwargs": arguments} if arguments else {}


def print_prompts(found: list[dict[str, Any]]) -> None:
    """How many prompts are the same, and of the others the first place that is not."""
    same = sum(comparison["same"] for comparison in found)
    mark = "green" if same == len(found) else "yellow"
    _line(
        "server",
        f"[{mark}]{same} of {many(len(found), 'prompt')} the same[/] ({_WAYS[found[0]['way']]})",
    )
    for comparison in found:
        if not comparison["same"]:
            _print_difference(comparison)


def _print_difference(comparison: dict[str, Any]) -> None:
    place = _data(f"{comparison['where']} messages[{comparison['turn']}]")
    if comparison["error"]:
        _line("", f"{place}: the server gave no prompt: {_data(comparison['error'])}")
        return
    _line("", f"{place}: ours {comparison['ours']:,} tokens, the server's {comparison['theirs']:,}")
    difference = comparison["difference"]
    if difference is not None:
        _line(
            "", f"  from character {difference['at']:,} on, behind {_shown(difference['before'])}"
        )
        _line("", f"  ours    [green]{_shown(difference['ours'])}[/]")
        _line("", f"  server  [red]{_shown(difference['theirs'])}[/]")
    cause = comparison["cause"]
    _line("", f"  likely cause: {_data(cause)}" if cause else "  no usual cause explains it")


def _line(name: str, text: str) -> None:
    console.print(f"[bold]{name:<10}[/]{text}")


def _shown(text: str) -> str:
    return _data(repr(text)) if text else "(the end)"


def _data(text: str) -> str:
    """Text of unknown origin, to stand within markup."""
    return escape(printable(text))
