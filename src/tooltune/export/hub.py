"""Send an export to the Hugging Face hub: private unless told otherwise, and only on request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tooltune.errors import UserError
from tooltune.scrub import scrub_text


def check_repo(repo: str) -> None:
    """Raise UserError, before any work, for what is no repository id."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"--push {repo}: {error}", fix="write it as OWNER/NAME") from error


def push_export(
    folder: Path, repo: str, *, public: bool, base_name: str, api: Any | None = None
) -> str:
    """Upload the folder as a model repository and return its address.

    A new repository is private unless `public`; one that is there and public is only written to
    with `public`. Paths of this machine in the adapter's configuration become `base_name` in what
    is sent. `api`: a `huggingface_hub.HfApi`, by default one with the user's own login.

    Raises: UserError where the hub refuses, with its reason (without secrets).
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    api = api or HfApi(library_name="tooltune")
    try:
        address = api.create_repo(repo, private=not public, exist_ok=True, repo_type="model")
        if not public and not api.repo_info(repo, repo_type="model").private:
            raise UserError(
                f"--push {repo}: that repository is there already, and public",
                fix="give --public if everybody may have this model, or another name",
            )
        ignored, shared = _without_paths(folder, base_name)
        commit = "Model exported by tooltune"
        api.upload_folder(
            repo_id=repo,
            folder_path=str(folder),
            repo_type="model",
            commit_message=commit,
            ignore_patterns=ignored,
        )
        for name, text in shared.items():
            api.upload_file(
                path_or_fileobj=text.encode(),
                path_in_repo=name,
                repo_id=repo,
                repo_type="model",
                commit_message=commit,
            )
    except LocalTokenNotFoundError as error:
        raise UserError(
            f"--push {repo}: nobody is logged in to the hub here",
            fix="run `hf auth login`, or set HF_TOKEN, then export to another --out again",
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = scrub_text(str(error)).strip().splitlines()
        raise UserError(
            f"--push {repo}: the hub refused ({reason[0] if reason else type(error).__name__})",
            fix=f"check the name, your right to write there and the network; the export in "
            f"{folder} is whole",
        ) from error
    return str(address)


def _without_paths(folder: Path, base_name: str) -> tuple[list[str], dict[str, str]]:
    """Files that are not sent as they are, and what is sent instead: no path of this machine."""
    name = "adapter_config.json"
    file = folder / name
    if not file.is_file():
        return [], {}
    config = json.loads(file.read_text(encoding="utf-8"))
    base = str(config.get("base_model_name_or_path") or "")
    if not Path(base).is_absolute():
        return [], {}
    config["base_model_name_or_path"] = base_name
    return [name], {name: json.dumps(config, indent=2, sort_keys=True) + "\n"}
