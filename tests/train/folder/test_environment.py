from __future__ import annotations

import getpass
import hashlib
import json
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tooltune.train.folder.environment import (
    describe_environment,
    git_state,
    hash_data,
    hash_tokenizer,
)


def a_tokenizer(*words: str) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="a"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="a")


def git(directory: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@e", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=directory, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_versions_machine_and_hashes_are_described(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_bytes(b"{}\n")
    described = describe_environment(
        data_files=[data], tokenizer=a_tokenizer("a", "b"), chat_template="{{ x }}"
    )
    assert described["python"] == platform.python_version()
    assert described["packages"]["torch"] == torch.__version__
    assert {"transformers", "peft", "tokenizers"} <= described["packages"].keys()
    assert described["cpu"]["count"] >= described["cpu"]["usable"] >= 1
    assert (described["cuda"] is None) == (not torch.cuda.is_available())
    assert described["data"] == {
        str(data): {"sha256": hashlib.sha256(b"{}\n").hexdigest(), "bytes": 3, "files": 1}
    }
    assert len(described["tokenizer_sha256"]) == len(described["chat_template_sha256"]) == 64
    assert json.loads(json.dumps(described, allow_nan=False)) == described


def test_what_is_not_there_is_null(tmp_path: Path) -> None:
    described = describe_environment(directory=tmp_path)
    assert described["git"] is None
    assert described["tokenizer_sha256"] is None
    assert described["chat_template_sha256"] is None


def test_a_folder_of_data_has_one_hash_of_names_and_contents(tmp_path: Path) -> None:
    def hashed(*files: tuple[str, str]) -> dict[str, object]:
        folder = tmp_path / "data"
        shutil.rmtree(folder, ignore_errors=True)
        for name, text in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return hash_data(folder)

    first = hashed(("a/x", "1"), ("b", "23"))
    assert (first["bytes"], first["files"]) == (3, 2)
    assert hashed(("b", "23"), ("a/x", "1")) == first
    others = [hashed(("a/x", "2"), ("b", "23")), hashed(("a/y", "1"), ("b", "23"))]
    assert len({str(item["sha256"]) for item in (first, *others)}) == 3


def test_the_tokenizers_hash_tells_its_ids_not_its_last_use() -> None:
    tokenizer = a_tokenizer("a", "b")
    before = hash_tokenizer(tokenizer)
    tokenizer(["a", "a b"], padding=True, truncation=True, max_length=1)
    assert hash_tokenizer(tokenizer) == before == hash_tokenizer(a_tokenizer("a", "b"))
    assert hash_tokenizer(a_tokenizer("a", "c")) != before
    tokenizer.add_tokens(["<new>"])
    assert hash_tokenizer(tokenizer) != before


def test_the_template_is_the_tokenizers_unless_given() -> None:
    tokenizer = a_tokenizer("a")
    tokenizer.chat_template = "one"
    hashes = [
        describe_environment(tokenizer=tokenizer, chat_template=template)["chat_template_sha256"]
        for template in (None, "one", "two")
    ]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_recorded_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) is None, "no commit yet"
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "file").write_text("2")
    (tmp_path / "folder").mkdir()
    assert git_state(tmp_path / "folder") == {"commit": commit, "dirty": True}


def test_no_secret_user_or_host_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "very-secret-value.jsonl"
    data.write_text("")
    monkeypatch.setenv("HF_TOKEN", "very-secret-value")
    monkeypatch.setenv("LOGNAME", "some-users-name")
    monkeypatch.setattr(platform, "node", lambda: "some-hosts-name")
    text = json.dumps(describe_environment(data_files=[data]))
    assert "very-secret-value" not in text
    assert getpass.getuser() not in text
    assert platform.node() not in text
