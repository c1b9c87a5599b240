"""Commands that serve an export: vLLM, SGLang, llama.cpp and transformers, and the page of them.

Options as the servers document them; see `parsers.py` for the names of parsers, and
https://docs.vllm.ai/en/latest/features/lora.html, https://docs.vllm.ai/en/latest/cli/serve.html,
https://docs.sglang.io/docs/advanced_features/lora.md,
https://github.com/ggml-org/llama.cpp/blob/master/docs/function-calling.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tooltune.export.parsers import parsers_of, transformers_parses
from tooltune.models.card import as_code

# The ranks that vLLM makes room for (vllm/config/lora.py, MaxLoRARanks).
_VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_SGLANG = "python -m sglang.launch_server"
THIS_FOLDER, ANY_BASE = '"$PWD"', '"$BASE"'


@dataclass(frozen=True, slots=True)
class Served:
    """What is to be served. `folder`, `base` and `gguf` are words of a shell, quoted.

    `call_format`: the family of its call syntax, None for one that is not known here.
    `model_type`: of config.json. `reasons`: whether its turns hold reasoning. `kwargs`: template
    arguments that every prompt had. For an adapter: `base`, `base_name` (for readers; empty where
    it is not known), `rank` (the largest), and `unusual`, what of it vLLM refuses.
    `drops_reasoning`: prompts showed no earlier reasoning.
    """

    name: str
    folder: str
    call_format: str | None
    model_type: str = ""
    reasons: bool = False
    kwargs: Mapping[str, object] = field(default_factory=dict)
    base: str | None = None
    base_name: str = ""
    rank: int = 0
    unusual: Sequence[str] = ()
    gguf: str | None = None
    drops_reasoning: bool = False

    @property
    def adapter(self) -> bool:
        return self.base is not None


@dataclass(frozen=True, slots=True)
class ServeCommand:
    """One server's command, in lines that a shell joins, and what must be known of it.

    `lines` is empty where the server cannot serve this export.
    """

    server: str
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return " \\\n    ".join(self.lines)


def serve_commands(served: Served) -> list[ServeCommand]:
    """A command for each server, vLLM first."""
    return [_vllm(served), _sglang(served), _llama_cpp(served), _transformers(served)]


def serve_page(served: Served) -> str:
    """The text of SERVE.md, whose commands are given in the folder of the export."""
    parts = [
        f"# Serve {served.name}",
        "Give these commands in this folder. Each starts a server that speaks OpenAI's API; use "
        f"one. The model's name in requests is `{served.name}`." + _base(served),
        _family(served),
        _GREEDY,
    ]
    for command in serve_commands(served):
        parts.append(f"## {command.server}")
        if command.lines:
            parts.append(f"```bash\n{command.text}\n```")
        parts += [f"- {note}" for note in command.notes]
    parts.append(_PROOF.format(name=served.name))
    return "\n\n".join(part for part in parts if part) + "\n"


_PROOF = """## Does it answer as it was trained to?

The server's template and parser decide as much as the weights. Both can be measured on traces of
your own (the port is that of vLLM; SGLang has 30000, llama.cpp 8080):

```bash
tooltune check test.jsonl --model . --server http://localhost:8000/v1 --server-model {name}
tooltune eval --engine openai --base-url http://localhost:8000/v1 --model {name} \\
    --data test.jsonl --out eval/served
```"""


# That `temperature: 0` is greedy: vllm/v1/sample/sampler.py; SGLang's SamplingParams; llama.cpp's
# common/sampling; transformers/cli/serving/utils.py. Only the last reads `do_sample: false`.
_GREEDY = (
    'Accuracy, that in `README.md` too, was measured greedily: send `"temperature": 0` in every '
    "request, without which vLLM, SGLang and llama.cpp draw tokens at random."
)


def _base(served: Served) -> str:
    if served.base != ANY_BASE:
        return ""
    name = f", `{as_code(served.base_name)}`" if served.base_name else ""
    return f" `$BASE` stands for the base model{name}: its folder, or its id on the hub."


def _family(served: Served) -> str:
    if served.call_format is None:
        return (
            "No parser is known for this model's tool calls: servers return them as text, and the "
            "application must read them."
        )
    text = f"The model writes its calls in the `{served.call_format}` syntax."
    if served.drops_reasoning:
        text += (
            " It was trained on prompts without the reasoning of earlier turns: leave that out of "
            "the messages that you send."
        )
    return text


def _vllm(served: Served) -> ServeCommand:
    parsers = parsers_of(served.call_format, served.model_type)
    notes = [parsers.vllm_note] if parsers.vllm_note else []
    if served.adapter:
        if refused := _refused_by_vllm(served):
            return ServeCommand("vLLM", (), (f"vLLM refuses this adapter: {refused}. {_MERGE}",))
        rank = next(rank for rank in _VLLM_RANKS if rank >= served.rank)
        lines = [
            f"vllm serve {served.base}",
            "--enable-lora",
            f"--lora-modules {served.name}={served.folder}",
            f"--max-lora-rank {rank}",
            f"--chat-template {served.folder}/chat_template.jinja",
            f"--generation-config {served.folder}",
        ]
        notes.append(
            "The generation config of this folder has the stop tokens of the training, and no "
            "temperature: vLLM's own is 1."
        )
    else:
        lines = [
            f"vllm serve {served.folder}",
            f"--served-model-name {served.name}",
            "--generation-config vllm",
        ]
        notes.append(
            "`--generation-config vllm` leaves sampling to requests and vLLM's own defaults "
            "(temperature 1); stop tokens are still read from `generation_config.json`."
        )
    if parsers.vllm is not None:
        lines += ["--enable-auto-tool-choice", f"--tool-call-parser {parsers.vllm}"]
    else:
        notes.insert(0, _no_parser("vLLM", served.call_format))
    _add_reasoning(lines, notes, parsers.vllm_reasoning, "vLLM", served)
    if served.kwargs:
        lines.append(f"--default-chat-template-kwargs '{_json(served.kwargs)}'")
    return ServeCommand("vLLM", tuple(lines), tuple(notes))


def _sglang(served: Served) -> ServeCommand:
    parsers = parsers_of(served.call_format, served.model_type)
    notes = [parsers.sglang_note] if parsers.sglang_note else []
    if served.adapter:
        if served.unusual:
            why = ", ".join(served.unusual)
            return ServeCommand("SGLang", (), (f"SGLang serves plain LoRA only: {why}. {_MERGE}",))
        lines = [
            f"{_SGLANG} --model-path {served.base}",
            f"--enable-lora --lora-paths {served.name}={served.folder}",
            f"--chat-template {served.folder}/chat_template.jinja",
        ]
        notes.append(f'Requests name the adapter: `"lora_path": "{served.name}"` in the body.')
    else:
        lines = [f"{_SGLANG} --model-path {served.folder}", f"--served-model-name {served.name}"]
    lines.append("--port 30000")
    if parsers.sglang is not None:
        lines.append(f"--tool-call-parser {parsers.sglang}")
    else:
        notes.insert(0, _no_parser("SGLang", served.call_format))
    _add_reasoning(lines, notes, parsers.sglang_reasoning, "SGLang", served)
    if served.kwargs:
        notes.append(_in_requests(served.kwargs))
    return ServeCommand("SGLang", tuple(lines), tuple(notes))


def _llama_cpp(served: Served) -> ServeCommand:
    if served.adapter:
        return ServeCommand("llama.cpp", (), (f"llama.cpp needs a GGUF file. {_MERGE}",))
    notes = [
        "It tells the syntax of the calls by the template, without a name; its log says `Chat "
        "format`. `Generic` there means that it knows no parser for this one.",
    ]
    file = served.gguf or "MODEL.gguf"
    if served.gguf is None:
        notes.insert(0, "`tooltune export … --gguf q8_0` makes the file.")
    lines = [f"llama-server -m {file} --alias {served.name}", "--jinja --port 8080"]
    if served.kwargs:
        lines.append(f"--chat-template-kwargs '{_json(served.kwargs)}'")
    return ServeCommand("llama.cpp", tuple(lines), tuple(notes))


def _transformers(served: Served) -> ServeCommand:
    if served.adapter:
        return ServeCommand("transformers", (), (f"It serves whole models. {_MERGE}",))
    notes = ["`pip install 'transformers[serving]'`. Requests name the model by its path."]
    if not transformers_parses(served.call_format, served.model_type):
        notes.append("It has no parser for this model's calls: they come back as text (version 5).")
    if served.kwargs:
        notes.append(_in_requests(served.kwargs))
    return ServeCommand(
        "transformers", (f"transformers serve {served.folder} --port 8000",), tuple(notes)
    )


_MERGE = "Export the merged model instead (without `--adapter`)."


def _refused_by_vllm(served: Served) -> str:
    reasons = list(served.unusual)
    if served.rank > _VLLM_RANKS[-1]:
        reasons.append(f"its rank is {served.rank}, more than {_VLLM_RANKS[-1]}")
    return ", ".join(reasons)


def _add_reasoning(
    lines: list[str], notes: list[str], parser: str | None, server: str, served: Served
) -> None:
    if not served.reasons:
        return
    if parser is not None:
        lines.append(f"--reasoning-parser {parser}")
    else:
        notes.append(f"{server} is not known to have a parser for this model's reasoning.")


def _no_parser(server: str, call_format: str | None) -> str:
    if call_format is None:
        return f"{server} is not known to have a parser for this model's calls."
    return (
        f"{server} is not known to have a parser for `{call_format}` calls: they come back as "
        "text, which `tooltune.parse_tool_calls` reads."
    )


def _in_requests(kwargs: Mapping[str, object]) -> str:
    return f'Put `"chat_template_kwargs": {_json(kwargs)}` into every request.'


def _json(value: object) -> str:
    return json.dumps(value, default=str).replace("'", "\\u0027")
