"""Fixtures for every test: real tokenizers, the shared traces, and hypothesis' settings."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests import assets

# Read by libraries when they are first imported; a test that needs the hub says so itself.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# The two cores of a small machine make the first example of a test slow: deadlines only flicker.
settings.register_profile(
    "tooltune",
    deadline=None,
    max_examples=30,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tooltune")

T = TypeVar("T")


def _skip_or_fail(missing: assets.AssetMissing) -> NoReturn:
    if assets.assets_required():
        pytest.fail(f"{missing}", pytrace=False)
    pytest.skip(f"{missing}")


def _asset(fetch: Callable[[], T]) -> T:
    try:
        return fetch()
    except assets.AssetMissing as missing:
        _skip_or_fail(missing)


def _tokenizer(name: str) -> Any:
    folder = _asset(lambda: assets.tokenizer_folder(name))
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def qwen25() -> Any:
    """The tokenizer of Qwen2.5 with the chat template it came with."""
    return _tokenizer("qwen2.5")


@pytest.fixture(scope="session")
def qwen3() -> Any:
    """The tokenizer of Qwen3 with the chat template it came with (it drops earlier reasoning)."""
    return _tokenizer("qwen3")


@pytest.fixture(scope="session")
def builtin_tokenizer() -> Any:
    """The tokenizer of the built-in model with its Hermes-style tool template."""
    from tooltune.models.load import load_tokenizer

    return load_tokenizer("builtin:smollm2-135m-instruct")


@pytest.fixture(scope="session")
def tokenizers(builtin_tokenizer: Any, qwen25: Any, qwen3: Any) -> dict[str, Any]:
    """All three tokenizers, by name: "builtin", "qwen2.5", "qwen3"."""
    return {"builtin": builtin_tokenizer, "qwen2.5": qwen25, "qwen3": qwen3}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The file of 300 real traces; tests that ask for it are marked `needs_data`."""
    return _asset(assets.shared_data_file)
