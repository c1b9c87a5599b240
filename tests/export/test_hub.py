"""Uploads through a hub that only remembers: private, on request, without paths and secrets."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

from tooltune.errors import UserError
from tooltune.export.hub import check_repo, push_export

SECRET = "hf_" + "a" * 34


class FakeHub:
    """What `HfApi` is asked; `public` says what the repository that is there is."""

    def __init__(self, *, public: bool = False, error: Exception | None = None) -> None:
        self.public = public
        self.error = error
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo: str, **given: Any) -> str:
        if self.error is not None:
            raise self.error
        self.calls.append(("create", {"repo": repo, **given}))
        return f"https://huggingface.co/{repo}"

    def repo_info(self, repo: str, **given: Any) -> Any:
        return SimpleNamespace(private=not self.public)

    def upload_folder(self, **given: Any) -> None:
        self.calls.append(("folder", given))

    def upload_file(self, **given: Any) -> None:
        self.calls.append(("file", given))

    def of(self, kind: str) -> dict[str, Any]:
        (found,) = [given for name, given in self.calls if name == kind]
        return found


def push(folder: Path, hub: FakeHub, *, public: bool = False) -> str:
    return push_export(folder, "me/my", public=public, base_name="Qwen/Qwen3-4B", api=hub)


def test_a_repository_is_private_unless_told_otherwise(tmp_path: Path) -> None:
    hub = FakeHub()
    assert push(tmp_path, hub) == "https://huggingface.co/me/my"
    assert hub.of("create")["private"] is True
    assert hub.of("folder")["folder_path"] == str(tmp_path)
    hub = FakeHub(public=True)
    push(tmp_path, hub, public=True)
    assert hub.of("create")["private"] is False


def test_a_public_repository_that_is_there_is_not_written_to_by_accident(tmp_path: Path) -> None:
    hub = FakeHub(public=True)
    with pytest.raises(UserError, match="public"):
        push(tmp_path, hub)
    assert [name for name, _ in hub.calls] == ["create"]


def test_no_path_of_this_machine_is_sent(tmp_path: Path) -> None:
    config = {"base_model_name_or_path": "/home/me/models/base", "r": 8}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    hub = FakeHub()
    push(tmp_path, hub)
    assert hub.of("folder")["ignore_patterns"] == ["adapter_config.json"]
    sent = json.loads(hub.of("file")["path_or_fileobj"])
    assert sent == {"base_model_name_or_path": "Qwen/Qwen3-4B", "r": 8}
    assert json.loads((tmp_path / "adapter_config.json").read_text()) == config


def test_a_hub_id_in_an_adapter_is_sent_as_it_is(tmp_path: Path) -> None:
    config = {"base_model_name_or_path": "Qwen/Qwen3-4B"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    hub = FakeHub()
    push(tmp_path, hub)
    assert not hub.of("folder")["ignore_patterns"]


def test_what_the_hub_says_is_told_without_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    response = httpx2.Response(403, request=httpx2.Request("POST", "https://huggingface.co"))
    refusal = HfHubHTTPError(f"403 Forbidden: token {SECRET} may not write", response=response)
    with pytest.raises(UserError, match="403 Forbidden") as caught:
        push(tmp_path, FakeHub(error=refusal))
    assert SECRET not in str(caught.value)


def test_who_is_not_logged_in_is_told_how(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hf auth login"):
        push(tmp_path, FakeHub(error=LocalTokenNotFoundError("no token")))


@pytest.mark.parametrize("repo", ["a b", "me/my/own", "-x", "me/..", ""])
def test_what_is_no_repository_is_refused_before_any_work(repo: str) -> None:
    with pytest.raises(UserError, match="--push"):
        check_repo(repo)
    check_repo("me/my-model")
