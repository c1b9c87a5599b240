"""A template from outside is first tried in a process of its own, under limits (trap 30).

Jinja's sandbox stops a template from reaching Python's insides, not from looping for hours or
building a text of gigabytes. So before a template runs here, it renders the sentinels in a small
process that may use only so much time and memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tooltune.errors import UserError
from tooltune.render.sentinels import AGAIN, ANSWER, CALL, RESULT, SYSTEM, TOOL_DICTS, USER
from tooltune.traces.types import Message

MAX_TEMPLATE_CHARACTERS = 256 * 1024
MAX_RENDER_CHARACTERS = 4_000_000  # of the sentinels, whose own text has under 2,000
MAX_CPU_SECONDS = 5
MAX_MEMORY_BYTES = 1 << 30
MAX_WAIT_SECONDS = 60  # on the clock, for a machine that is busy with other things


def check_limits(sources: Sequence[str]) -> None:
    """Refuse a template that takes too much to render a few words. About 0.15 s, once a template.

    What a template raises is no concern of this check.

    Raises: UserError.
    """
    for source in sources:
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            raise _refusal(f"has {len(source):,} characters; {MAX_TEMPLATE_CHARACTERS:,} are read")
        problem = _try(source)
        if problem:
            raise _refusal(problem)


def _refusal(problem: str) -> UserError:
    return UserError(
        f"the chat template {problem}: it may be made to do harm, and is not used",
        fix="use the template of the model's own publisher, or give one with `model.chat_template`",
    )


@lru_cache(maxsize=256)
def _try(source: str) -> str:
    """What is wrong with rendering `source`, or nothing."""
    work = json.dumps({"source": source, "conversations": _conversations()})
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", _CHILD],
            input=work.encode(),
            capture_output=True,
            timeout=MAX_WAIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"does not render a few words in {MAX_WAIT_SECONDS} s"
    if done.returncode == 0 and done.stdout.strip() == b"done":
        return ""
    if done.stdout.strip() == b"long":
        return f"makes more than {MAX_RENDER_CHARACTERS:,} characters of a few words"
    if done.stdout.strip() == b"memory":
        return f"needs more than {MAX_MEMORY_BYTES >> 20} MiB to render a few words"
    return f"does not render a few words in {MAX_CPU_SECONDS} s of processor time"


def _conversations() -> list[dict[str, Any]]:
    call, answer = Message("assistant", tool_calls=(CALL,)), Message("assistant", ANSWER)
    whole = [SYSTEM, USER, call, RESULT, answer, AGAIN]
    return [
        {"messages": [message.to_openai() for message in messages], "tools": tools}
        for messages, tools in (([USER], None), (whole, TOOL_DICTS))
    ]


# Renders as transformers' `apply_chat_template` does, in an interpreter that imports only Jinja.
_CHILD = f"""
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, ({MAX_MEMORY_BYTES}, {MAX_MEMORY_BYTES}))
    resource.setrlimit(resource.RLIMIT_CPU, ({MAX_CPU_SECONDS}, {MAX_CPU_SECONDS}))
except (ImportError, ValueError, OSError):
    pass  # the clock still ends this process
import json
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

class Generation(Extension):
    tags = {{"generation"}}
    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)

def stop(message):
    raise ValueError(message)

work = json.load(sys.stdin)
outcome = "done"
for given in work["conversations"]:
    try:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
        environment.filters["tojson"] = lambda value, **how: json.dumps(
            value, ensure_ascii=False, indent=how.get("indent"))
        environment.globals["raise_exception"] = stop
        environment.globals["strftime_now"] = lambda form: "2026-01-01"
        length = 0
        for piece in environment.from_string(work["source"]).generate(
                **given, add_generation_prompt=True, bos_token="", eos_token=""):
            length += len(piece)
            if length > {MAX_RENDER_CHARACTERS}:
                outcome = "long"
                break
    except MemoryError:
        outcome = "memory"
    except Exception:
        pass  # what a template raises is told by the probe
    if outcome != "done":
        break
print(outcome)
"""
