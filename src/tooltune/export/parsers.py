"""Which parser of which server reads the calls of a family.

Names are those that the servers register (September 2026), for the families of
`toolcalls/formats`; None where a server is not known to have a parser for that syntax.

vLLM:   https://docs.vllm.ai/en/latest/features/tool_calling.html
        https://docs.vllm.ai/en/latest/features/reasoning_outputs.html
        https://github.com/vllm-project/vllm/blob/main/vllm/tool_parsers/__init__.py
        https://github.com/vllm-project/vllm/blob/main/vllm/reasoning/__init__.py
SGLang: https://docs.sglang.io/docs/advanced_features/tool_parser.md
        https://github.com/sgl-project/sglang/blob/main/python/sglang/srt/function_call/
        function_call_parser.py, and srt/parser/reasoning_parser.py beside it
transformers: the fallbacks of `transformers/cli/serving/utils.py` (version 5)
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Parsers:
    """Names of one family's parsers, and what a user must know of them.

    `vllm`, `sglang`: what `--tool-call-parser` is given; `*_reasoning`: `--reasoning-parser`.
    """

    vllm: str | None
    vllm_reasoning: str | None = None
    sglang: str | None = None
    sglang_reasoning: str | None = None
    vllm_note: str = ""
    sglang_note: str = ""


NONE = Parsers(None)

_VLLM_LLAMA3 = "vLLM does not support several calls in one turn for Llama 3."

PARSERS: dict[str, Parsers] = {
    "hermes": Parsers("hermes", "qwen3", "qwen25", "qwen3"),
    "llama3": Parsers("llama3_json", None, "llama3", None, _VLLM_LLAMA3),
    "mistral": Parsers("mistral", None, "mistral", "mistral"),
    "harmony": Parsers("openai", "openai_gptoss", "gpt-oss", "gpt-oss"),
    "bare_json": NONE,
    "qwen3_xml": Parsers(
        "qwen3_xml", "qwen3", "qwen3_coder", "qwen3", "Versions without it: `qwen3_coder`."
    ),
    "glm": Parsers(
        *("glm45", "glm45", "glm45", "glm45"),
        "GLM-4.7 and later: `--tool-call-parser glm47`.",
        "GLM-4.7 and later: `--tool-call-parser glm47`.",
    ),
    "minimax_m2": Parsers("minimax_m2", "minimax_m2", "minimax-m2", "minimax-append-think"),
    "deepseek_v3_2": Parsers(
        *("deepseek_v32", "deepseek_v3", "deepseekv32", "deepseek-v3"),
        "DeepSeek-V4: `deepseek_v4` for both parsers.",
        "DeepSeek-V4: `--tool-call-parser deepseekv4 --reasoning-parser deepseek-v4`.",
    ),
    "atem": Parsers(None, sglang="muse"),
    "pythonic": Parsers("pythonic", None, "pythonic"),
    "lfm2": Parsers("lfm2", None, "lfm2"),
    "olmo3": Parsers("olmo3", "olmo3"),
    "gemma3": NONE,
    "functiongemma": Parsers("functiongemma"),
    "gemma4": Parsers("gemma4", "gemma4", "gemma4", "gemma4"),
    "deepseek_v3": Parsers("deepseek_v3", "deepseek_r1", "deepseekv3", "deepseek-r1"),
    "deepseek_v3_1": Parsers("deepseek_v31", "deepseek_v3", "deepseekv31", "deepseek-v3"),
    "kimi_k2": Parsers("kimi_k2", "kimi_k2", "kimi_k2", "kimi_k2"),
    "phi4_mini": Parsers("phi4_mini_json"),
    "granite3": Parsers("granite", "granite"),
    "cohere": Parsers(
        "cohere_command3",
        "cohere_command3",
        vllm_note="This parser needs one more package: `pip install cohere_melody`.",
    ),
    "nemotron_nano_v2": Parsers(
        None,
        vllm_note="The repository of NVIDIA-Nemotron-Nano-9B-v2 carries a parser file for "
        "`--tool-parser-plugin`.",
    ),
    "xlam": Parsers("xlam"),
}
"""By the family's name in `toolcalls.parse.FORMATS`, each of which is here."""

# Models that write a family's calls and are to be read by other parsers than its name says.
_BY_MODEL_TYPE: dict[tuple[str, str], dict[str, str]] = {
    ("pythonic", "llama4"): {"vllm": "llama4_pythonic"},
    ("qwen3_xml", "nemotron"): {
        "vllm": "qwen3_coder",
        "vllm_reasoning": "nemotron_v3",
        "sglang_reasoning": "nemotron_3",
    },
}

# What `transformers serve` parses the calls of, by the `model_type` of config.json; of all other
# models it returns them as text, unless their tokenizer brings a response template.
TRANSFORMERS_PARSES: dict[str, frozenset[str]] = {
    "hermes": frozenset(
        {"qwen2", "qwen2_moe", "qwen2_vl", "qwen2_5_vl"}
        | {"qwen3", "qwen3_moe", "qwen3_next", "qwen3_vl", "qwen3_vl_moe"}
    ),
    "qwen3_xml": frozenset({"qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text"}),
    "gemma4": frozenset({"gemma4"}),
}


def parsers_of(call_format: str | None, model_type: str = "") -> Parsers:
    """The parsers of a family, corrected for a kind of model (`model_type` of its config.json).

    All None for a template that declares no calls (`call_format` None).
    """
    found = PARSERS.get(call_format or "", NONE)
    for (family, kind), changes in _BY_MODEL_TYPE.items():
        if family == call_format and model_type.startswith(kind):
            found = replace(found, **changes)
    return found


def transformers_parses(call_format: str | None, model_type: str) -> bool:
    """Whether `transformers serve` returns the calls of such a model as calls."""
    return model_type in TRANSFORMERS_PARSES.get(call_format or "", ())
