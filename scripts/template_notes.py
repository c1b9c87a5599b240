"""What people found when they read the templates that refuse rows, and what mends them.

Everything here is held against the facts when the table is made: a quoted piece must stand in the
template (or be absent), and a change must make it accept what its note says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

PATTERN = (Path(__file__).parent / "tool_pattern.jinja").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Seen:
    """A refusal's reason, read in the template: `quote` stands there, or nowhere in it."""

    says: str
    quote: str
    absent: bool = False


@dataclass(frozen=True)
class Mended:
    """A change of template. `edits` are (old, new) texts; `first_line` heads the tool pattern."""

    says: str
    edits: tuple[tuple[str, str], ...] = ()
    first_line: str = ""
    instead: str = ""  # the key of the row to use in its place

    def apply(self, source: str) -> str:
        if self.first_line:
            return self.first_line + PATTERN
        for old, new in self.edits:
            assert source.count(old) == 1, f"{old!r} is {source.count(old)} times in the template"
            source = source.replace(old, new)
        return source


@dataclass(frozen=True)
class Note:
    """`seen` by code of refusal (`unusable` for the whole template)."""

    seen: dict[str, Seen] = field(default_factory=dict)
    mended: Mended | None = None


def _first_line(bos: str, system: str, user: str, assistant: str, end: str, stop: str = "") -> str:
    """The line that a family's markers are set in; `stop` ends the assistant's turns."""
    values = {"bos": bos, "system": system, "user": user, "assistant": assistant, "end": end}
    values["stop"] = stop or end
    return "".join(f"{{%- set {key} = {_quoted(text)} %}}" for key, text in values.items()) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("\n", "\\n") + "'"


_NO_TOOLS = Seen("the word `tools` does not occur in it", "tools", absent=True)
_NO_CALLS = Seen("`tool_calls` does not occur in it", "tool_calls", absent=True)
_PATTERN = "the tool pattern below under this template's own markers"
_CHATML = _first_line(
    "", "<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>\n"
)
_GEMMA = _first_line(
    "<bos>",
    "<start_of_turn>user\n",
    "<start_of_turn>user\n",
    "<start_of_turn>model\n",
    "<end_of_turn>\n",
)
_PHI = _first_line("", "<|system|>\n", "<|user|>\n", "<|assistant|>\n", "<|end|>\n")
_COHERE = _first_line(
    "<BOS_TOKEN>",
    "<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>",
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>",
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>",
)
_DEEPSEEK = _first_line(
    "<｜begin▁of▁sentence｜>", "", "<｜User｜>", "<｜Assistant｜>", "", "<｜end▁of▁sentence｜>"
)
_VLM = _first_line("", "System: ", "User: ", "Assistant:", "<end_of_utterance>\n")
_LLAVA = _first_line("", "<<SYS>>\n", "[INST] ", " [/INST]", "\n", "</s>")
_IGNORES = {"template_ignores_tools": _NO_TOOLS}


def _patterned(first_line: str, **seen: Seen) -> Note:
    return Note({**_IGNORES, **seen}, Mended(_PATTERN, first_line=first_line))


def _thinks_not(quote: str = "reasoning", says: str = "", mended: str = "") -> Note:
    """A template with tools and calls that never reads reasoning."""
    says = says or f"the word `{quote}` does not occur in it"
    seen = {"template_drops_reasoning": Seen(says, quote, absent=True)}
    return Note(seen, Mended(mended) if mended else None)


_QWEN3_DOES = "`qwen3.jinja` has the same markers and shows reasoning"
_CLOSED = "the generation prompt closes the think block: `{}`"


def _switched(quote: str, value: str = "true") -> Note:
    """A thinking template whose switch stands on the other side."""
    seen = Seen(_CLOSED.format(quote.replace("\n", "\\n")), quote)
    return Note(
        {"template_drops_reasoning": seen},
        Mended(f"`model.chat_template_kwargs: {{enable_thinking: {value}}}`; see that row"),
    )


_EMPTY_THINK = "'<think>\\n\\n</think>\\n\\n'"
_R1_PROMPT = "{{'<｜Assistant｜><think>\\n'}}"
_OPENED = Seen(
    "the generation prompt ends in `<think>` and no assistant turn is rendered with one; text "
    "through `</think>` is cut from it",
    _R1_PROMPT,
)
_LLAMA_NAME = """{{- '{"name": "' + tool_call.name + '", ' }}"""
_LLAMA_CALLS = Note(
    {
        "template_drops_parallel_calls": Seen(
            "it raises: “This model only supports single tool-calls at once!”",
            "{%- if not message.tool_calls|length == 1 %}",
        ),
        "template_drops_content": Seen(
            "the branch for `tool_calls` prints the call's name and arguments only", _LLAMA_NAME
        ),
        "template_drops_reasoning": Seen(
            "the word `reasoning` does not occur in it", "reasoning", absent=True
        ),
    },
    Mended(
        "print the text, then every call on a line of its own",
        edits=(
            ("{%- if not message.tool_calls|length == 1 %}", "{%- if false %}"),
            (
                _LLAMA_NAME,
                "{{- message.content }}{%- for call in message.tool_calls %}"
                "{%- set tool_call = call.function %}" + _LLAMA_NAME,
            ),
            ('{{- "}" }}', '{{- "}" if loop.last else "}\\n" }}{%- endfor %}'),
        ),
    ),
)
_ANALYSIS = '"<|start|>assistant<|channel|>analysis<|message|>" + message.content'
_GPT_OSS = Note(
    {
        "template_drops_parallel_calls": Seen(
            "only `message.tool_calls[0]` is read (“We assume max 1 tool call per message”)",
            "{%- set tool_call = message.tool_calls[0] %}",
        ),
        "template_drops_content": Seen(
            "it is written into the analysis channel, where reasoning goes", _ANALYSIS
        ),
    },
    Mended(
        "write the text to the commentary channel; parallel calls are not in this model's "
        "format: give each a turn of its own in the data",
        edits=((_ANALYSIS, _ANALYSIS.replace("analysis", "commentary")),),
    ),
)
_MISTRAL_CALLS = '{{- "[TOOL_CALLS][" }}'
_MISTRAL = Note(
    {
        "template_drops_content": Seen(
            "the branch for `tool_calls` prints names, arguments and ids only", _MISTRAL_CALLS
        ),
        "template_drops_reasoning": Seen(
            "the word `reasoning` does not occur in it", "reasoning", absent=True
        ),
    },
    Mended(
        "print the text first", edits=((_MISTRAL_CALLS, "{{- message.content }}" + _MISTRAL_CALLS),)
    ),
)
_MUSE_CALLS = "{%- for tc in message['tool_calls'] -%}"
_MUSE = Note(
    {
        "template_drops_content": Seen(
            "content is printed in the `else` of `if message.get('tool_calls')`",
            "{%- else -%}\n            {%- set recipient = message.get('recipient') or 'user' -%}",
        ),
    },
    Mended(
        "print the text to the user before the calls",
        edits=(
            (
                _MUSE_CALLS,
                "{%- if message['content'] -%}{{- '<|start|>assistant to=user<|message|>' + "
                "message['content'] + '<|eom|>' -}}{%- endif -%}" + _MUSE_CALLS,
            ),
        ),
    ),
)


def _nemotron_thinks() -> Note:
    seen = Seen(
        "the generation prompt opens `<think>` and a newline, while a turn without reasoning is "
        'rendered with an empty block: `"<think></think>" ~ content`',
        '"<think></think>" ~ content',
    )
    says = "`model.chat_template_kwargs: {enable_thinking: false}`, or reasoning in every turn"
    return Note({"template_rewrites_prompt": seen}, Mended(says))


_NEMOTRON_OFF = _switched("'<|im_start|>assistant\\n<think></think>'")
_MOVED = Seen(
    "results are written inside the turn that called, before its text, and the prompt behind both "
    "has no header of the model's",
    "{%- if ns.prev_message_type != 'tool_response' and ns.prev_message_type != 'tool_call' -%}",
)
_GEMMA4_MOVES = Note(
    {"template_drops_content": _MOVED},
    Mended("put the text into the reasoning of that turn in the data, or leave it out"),
)
_GEMMA4_CALLS_ONLY = Note(
    {
        "template_drops_reasoning": Seen(
            "reasoning is shown only `and message.get('tool_calls')`",
            "loop.index0 > ns_turn.last_user_idx and message.get('tool_calls')",
        ),
        "template_drops_content": _MOVED,
    },
    Mended(
        "leave out the condition, as the 5th revision does",
        edits=(
            (
                "thinking_text and loop.index0 > ns_turn.last_user_idx and "
                "message.get('tool_calls')",
                "thinking_text and loop.index0 > ns_turn.last_user_idx",
            ),
        ),
    ),
)

_LLAMA_3_1 = Note(
    _IGNORES, Mended("`llama3_1.jinja` has the same markers and knows tools; see its row")
)

NOTES: dict[str, Note] = {
    "llama3": _LLAMA_3_1,
    "npm-llama-3.1": _LLAMA_3_1,
    "llama3_1": _LLAMA_CALLS,
    "llama3_2": _LLAMA_CALLS,
    "gptoss": _GPT_OSS,
    "npm-mistral-nemo": _MISTRAL,
    "muse_glimmer": _MUSE,
    "glm4moe-enable_thinking=false": _switched(
        "'\\n<think></think>' if (enable_thinking is defined and not enable_thinking)"
    ),
    "gemma4_v2": _thinks_not(mended="the 5th revision shows it"),
    "lfm2": Note(
        {
            "template_drops_tool_calls": _NO_CALLS,
            "template_drops_reasoning": Seen(
                "the word `reasoning` does not occur in it", "reasoning", absent=True
            ),
        },
        Mended("`lfm2_v2.jinja`, the model's later revision; see its row"),
    ),
    "lfm2_v2": _thinks_not(mended="`lfm2_2_5_v2.jinja` has the same markers and shows it"),
    "npm-qwen2.5": _thinks_not(mended=_QWEN3_DOES),
    "qwen2_5": _thinks_not(mended=_QWEN3_DOES),
    "qwen2_5_vl": _patterned(_CHATML),
    "qwen3-enable_thinking=false": _switched(_EMPTY_THINK),
    "qwen3_instruct_2507": _thinks_not(mended=_QWEN3_DOES),
    "qwen3_vl": _thinks_not(mended=_QWEN3_DOES),
    "qwen3_5_think-enable_thinking=false": _switched(_EMPTY_THINK),
    "qwen3_5_nothink": _switched(_EMPTY_THINK),
    "qwen3_6-enable_thinking=false": _switched(_EMPTY_THINK),
    "gemma": _patterned(_GEMMA),
    "npm-gemma-3": _patterned(_GEMMA),
    "gemma3": _patterned(_GEMMA),
    "phi3": _patterned(_PHI),
    "phi3_5": _patterned(_PHI),
    "cohere": _patterned(_COHERE),
    "cohere2": _patterned(_COHERE),
    "idefics3": _patterned(_VLM),
    "smolvlm": _patterned(_VLM),
    "llava_next": _patterned(_LLAVA),
    "npm-deepseek-v3": _patterned(_DEEPSEEK),
    "deepseekv3": Note({"unusable": _OPENED}, Mended(_PATTERN, first_line=_DEEPSEEK)),
    "deepseek_r1_distill": Note({"unusable": _OPENED}, Mended(_PATTERN, first_line=_DEEPSEEK)),
    "nemotron_3_nano": _nemotron_thinks(),
    "nemotron_3_super": _nemotron_thinks(),
    "nemotron_3_ultra": _nemotron_thinks(),
    "nemotron_3_5_lightning": _nemotron_thinks(),
    "nemotron_3_nano-enable_thinking=false": _NEMOTRON_OFF,
    "nemotron_3_super-enable_thinking=false": _NEMOTRON_OFF,
    "nemotron_3_ultra-enable_thinking=false": _NEMOTRON_OFF,
    "nemotron_3_5_lightning-enable_thinking=false": _NEMOTRON_OFF,
    "gemma4_v5": _GEMMA4_MOVES,
    "diffusion_gemma": _GEMMA4_MOVES,
    "gemma4": _GEMMA4_CALLS_ONLY,
    "gemma4_v3": _GEMMA4_CALLS_ONLY,
    "gemma4_v4": _GEMMA4_CALLS_ONLY,
}
