"""When prepared data may be used again: everything that its content depends on, as one hash."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tooltune
from tooltune.render.turns import Renderer
from tooltune.traces.source import TraceSource, input_files
from tooltune.train.durable import sha256

FORMAT = 1  # of the cache's files; raise it when they change
_LIBRARIES = ("tooltune", "transformers", "tokenizers", "jinja2", "datasets")
_CODE = ("traces", "render", "toolcalls", "train/preparation")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CLOCK = "strftime_now"


def key_inputs(source: TraceSource, renderer: Renderer) -> dict[str, Any] | None:
    """What decides the prepared form of a source, as JSON; None where that cannot be told.

    Local files count by their content and their names (the ledger cites them). A hub data set
    counts by its commit, which the hub must be asked for unless `revision` is one. The date
    counts only where the template reads the clock.

    Raises: UserError for files that are not there.
    """
    commits = _commits(source)
    if commits is None:
        return None
    return {
        "format": FORMAT,
        "python": platform.python_version_tuple()[:2],  # its Unicode tables fold texts
        "versions": {name: _version(name) for name in _LIBRARIES},
        "code": _code(),
        "source": asdict(source),
        "files": [[str(path), sha256(path)] for path in input_files(source)],
        "commits": commits,
        "render": render_inputs(renderer),
        "tokenizer": tokenizer_inputs(renderer.tokenizer),
    }


def key_of_inputs(inputs: dict[str, Any]) -> str:
    """32 hexadecimal digits."""
    text = json.dumps(inputs, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def render_inputs(renderer: Renderer) -> dict[str, Any]:
    """The specification with the template's own text, and the date only if it is ever read."""
    templates = renderer.template.sources([{"type": "function", "function": {"name": "f"}}])
    spec = renderer.spec.to_dict() | {"chat_template": templates}
    if not any(_CLOCK in template for template in templates):
        del spec["date"]
    return spec


def tokenizer_inputs(tokenizer: Any) -> dict[str, Any]:
    """What decides a tokenizer's ids and the special tokens that it hands to templates."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = backend.to_str()
    else:
        content = json.dumps(sorted(tokenizer.get_vocab().items()))
    return {
        "class": f"{type(tokenizer).__module__}.{type(tokenizer).__qualname__}",
        "content": hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest(),
        "special": {k: str(v) for k, v in getattr(tokenizer, "special_tokens_map", {}).items()},
        "split_special_tokens": bool(getattr(tokenizer, "split_special_tokens", False)),
    }


def _commits(source: TraceSource) -> dict[str, str] | None:
    """The commit of each hub data set among the parts; None where one cannot be had."""
    commits = {}
    for part in (source, *source.sources):
        if part.dataset_name is None:
            continue
        commit = _commit(part.dataset_name, part.revision)
        if commit is None:
            return None
        commits[f"{part.dataset_name}@{part.revision or ''}"] = commit
    return commits


def _commit(name: str, revision: str | None) -> str | None:
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    try:
        from huggingface_hub import HfApi

        return HfApi().dataset_info(name, revision=revision, timeout=10).sha
    except Exception:  # offline, private, gone: reading the rows will say which
        return None


@cache
def _code() -> str:
    """SHA-256 of the source files that read and render: a change of code needs no new version."""
    root = Path(tooltune.__file__).parent
    digest = hashlib.sha256()
    for package in _CODE:
        for file in sorted((root / package).rglob("*.py")):
            digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
