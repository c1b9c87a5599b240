"""Fixtures for every test: real tokenizers, the shared traces, and hypothesis' settings."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import lru_cache
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

# What runs in the background, or under nohup, may be deaf to Ctrl-C or to a lost terminal, and
# children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs, which take longest, go first: else one worker ends with them by itself."""
    items.sort(key=lambda item: "train" not in item.path.relative_to(assets.REPOSITORY).parts)


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
    return _asset(lambda: assets.tokenizer(name))


@pytest.fixture(scope="session", autouse=True)
def prepared_data_of_this_session_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of its own for what tests prepare; models and assets stay in the user's."""
    user, ours = assets.asset_folder().parent, tmp_path_factory.mktemp("cache")
    for name in ("models", "test-assets"):
        (user / name).mkdir(parents=True, exist_ok=True)
        (ours / name).symlink_to(user / name, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOOLTUNE_CACHE", str(ours))
        yield


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
def real_tokenizer() -> Callable[[str], Any]:
    """A tokenizer of `tests/assets.py` by its name there ("llama-3.1", "gpt-oss", ...), cached."""
    return lru_cache(maxsize=None)(_tokenizer)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The file of 300 real traces; tests that ask for it are marked `needs_data`."""
    return _asset(assets.shared_data_file)
