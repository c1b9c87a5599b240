"""`environment.json`: what a result depends on, so that a run can be explained or repeated.

No user, host or environment variable is recorded, and what is recorded is scrubbed of secrets.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tooltune.scrub import scrub
from tooltune.train.durable import sha256

_PACKAGES = (
    *("tooltune", "torch", "transformers", "peft", "tokenizers", "safetensors", "datasets"),
    *("numpy", "jinja2", "flash-attn", "liger-kernel", "bitsandbytes"),
)
_SAMPLE = 1 << 20  # bytes


def describe_environment(
    *,
    data_files: Iterable[str | Path] = (),
    tokenizer: Any = None,
    chat_template: str | None = None,
    directory: Path | None = None,
) -> dict[str, Any]:
    """A JSON object: versions, machine, git commit, SHA-256 of data, tokenizer and template.

    `data_files` may name folders (each file inside is hashed). `chat_template` defaults to the
    tokenizer's. `directory` is where git is asked, by default the current one. What is not
    there (a package, a repository) is left out or null.
    """
    template = chat_template or getattr(tokenizer, "chat_template", None)
    described = {
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name)) is not None},
        "cpu": _cpu(),
        "cuda": _cuda(),
        "git": git_state(directory or Path.cwd()),
        "data": {str(path): hash_data(Path(path)) for path in data_files},
        "tokenizer_sha256": None if tokenizer is None else hash_tokenizer(tokenizer),
        "chat_template_sha256": None if template is None else _hash_json(template),
    }
    scrubbed: dict[str, Any] = scrub(described)
    return scrubbed


def hash_data(path: Path) -> dict[str, Any]:
    """`{"sha256", "bytes", "files"}` of a file, or of all files under a folder with their names."""
    if path.is_file():
        return {"sha256": sha256(path), "bytes": path.stat().st_size, "files": 1}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    hashes = [[file.relative_to(path).as_posix(), sha256(file)] for file in files]
    size = sum(file.stat().st_size for file in files)
    return {"sha256": _hash_json(hashes), "bytes": size, "files": len(files)}


def hash_tokenizer(tokenizer: Any) -> str:
    """SHA-256 of all that decides a tokenizer's ids: the whole fast pipeline, or the vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        pipeline = json.loads(backend.to_str())
        # Padding and truncation are what the last caller asked for, not the tokenizer's own.
        return _hash_json({**pipeline, "padding": None, "truncation": None})
    return _hash_json(sorted(tokenizer.get_vocab().items()))


def hash_model(name: str) -> str | None:
    """SHA-256 of samples of a local model's weights, cheap for any size; None for a hub name.

    Of each weight file its name, its size, and a MiB of its start, middle and end.
    """
    folder = Path(name)
    if not folder.is_dir():
        return None
    files = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    return _hash_json([[path.name, path.stat().st_size, _hash_samples(path)] for path in files])


def _hash_samples(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for start in (0, size // 2, max(0, size - _SAMPLE)):
            file.seek(start)
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def git_state(directory: Path) -> dict[str, Any] | None:
    """`{"commit", "dirty"}` of the repository that holds `directory`, or `None`."""
    commit = _git(directory, "rev-parse", "HEAD")
    if not commit:
        return None
    return {"commit": commit, "dirty": bool(_git(directory, "status", "--porcelain"))}


def _git(directory: Path, *arguments: str) -> str | None:
    # Reading must not run the repository's own programs (fsmonitor) or take its index lock.
    command = ["git", "-c", "core.fsmonitor=false", *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "machine": platform.machine(),
        "count": os.cpu_count(),
        "usable": usable,
        "torch_threads": torch.get_num_threads(),
        "capability": torch.backends.cpu.get_cpu_capability(),
    }


def _cuda() -> dict[str, Any] | None:
    if not torch.cuda.is_available():
        return None
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "version": torch.version.cuda,
        "devices": [
            {
                "name": device.name,
                "memory_bytes": device.total_memory,
                "capability": f"{device.major}.{device.minor}",
            }
            for device in devices
        ],
    }


def _hash_json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
