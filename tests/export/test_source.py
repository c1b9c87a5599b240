"""What CKPT may be, and that nothing damaged is exported."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import TinyRun
from tooltune.errors import UserError
from tooltune.export.source import Source, base_directory, find_source


def checkpoint_of(run: Path) -> Path:
    return (run / "checkpoints" / "LATEST").resolve()


def the_same(source: Source, checkpoint: Path) -> bool:
    return (
        source.checkpoint == checkpoint
        and source.consolidated == checkpoint / "model" / "consolidated"
        and source.adapter == checkpoint / "model" / "adapter"
        and source.verified
    )


def test_a_run_its_checkpoint_a_link_and_what_is_inside_lead_to_the_same_model(
    run: TinyRun,
) -> None:
    checkpoint = checkpoint_of(run.folder)
    inside = ["model/consolidated", "model/adapter"]
    places = [checkpoint, run.folder / "checkpoints" / "LATEST", *(checkpoint / p for p in inside)]
    for place in [run.folder, run.folder / "checkpoints", *places]:
        source = find_source(place)
        assert the_same(source, checkpoint), place
        assert source.run == run.folder.resolve()
        assert source.done["step"] == 3
        assert source.render is not None


def test_of_a_run_the_best_by_tool_calls_is_taken_else_the_latest(copied: Path) -> None:
    links = copied / "checkpoints"
    (links / "BEST_TOOL_CALL").unlink(missing_ok=True)
    assert find_source(copied).chosen == "LATEST"
    os.symlink(os.readlink(links / "LATEST"), links / "BEST_TOOL_CALL")
    assert find_source(copied).chosen == "BEST_TOOL_CALL"
    assert find_source(checkpoint_of(copied)).chosen is None


def test_a_flipped_bit_in_any_file_of_a_checkpoint_is_refused_by_its_name(copied: Path) -> None:
    checkpoint = checkpoint_of(copied)
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    assert len(files) > 8
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(UserError, match="damaged") as caught:
            find_source(copied)
        assert file.name in str(caught.value)
        file.write_bytes(whole)
    find_source(copied)


@pytest.mark.parametrize("name", ["model/consolidated/model.safetensors", "manifest.json"])
def test_a_missing_or_truncated_file_is_refused_by_its_name(copied: Path, name: str) -> None:
    file = checkpoint_of(copied) / name
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(UserError, match=Path(name).name):
        find_source(copied)
    file.unlink()
    with pytest.raises(UserError, match=Path(name).name):
        find_source(checkpoint_of(copied))


def test_a_model_outside_a_checkpoint_is_taken_and_known_to_be_unverified(
    run: TinyRun, tmp_path: Path
) -> None:
    inside = checkpoint_of(run.folder) / "model"
    for part in ("consolidated", "adapter"):
        source = find_source(Path(shutil.copytree(inside / part, tmp_path / part)))
        assert not source.verified
        assert source.checkpoint is None
        assert (source.consolidated is None) == (part == "adapter")


def test_what_holds_no_model_is_refused_with_what_would(tmp_path: Path, run: TinyRun) -> None:
    with pytest.raises(UserError, match="no such folder"):
        find_source(tmp_path / "gone")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="leads nowhere"):
        find_source(tmp_path / "link")
    with pytest.raises(UserError, match="holds no model"):
        find_source(run.folder / "eval")
    (tmp_path / "empty" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match="no checkpoint"):
        find_source(tmp_path / "empty")


def test_the_base_is_the_runs_or_the_one_that_is_named(run: TinyRun, model: Path) -> None:
    source = find_source(run.folder)
    assert base_directory(source) == model
    gone = find_source(run.folder, base=str(model / "gone"))
    with pytest.raises(UserError, match="--base"):
        base_directory(gone)


def test_a_relative_base_is_looked_for_where_the_run_was_started(
    copied: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(model, tmp_path / "models" / "base")
    config = (copied / "config.yaml").read_text()
    config = config.replace(str(model), "models/base")
    config = "".join(
        "output_dir: copied\n" if line.startswith("output_dir:") else line
        for line in config.splitlines(keepends=True)
    )
    (copied / "config.yaml").write_text(config)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert base_directory(find_source(copied)) == tmp_path / "models" / "base"
