"""Where commands write: a place that cannot be written is one message, before any work."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import files_below, refused, succeeds
from tooltune.cli import places
from tooltune.errors import UserError

REASONS = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EACCES, errno.EROFS)
BELOW_A_FILE = "file/x"
NOT_EVEN_BY_ROOT = "/proc/x"


@pytest.fixture(params=[BELOW_A_FILE, NOT_EVEN_BY_ROOT])
def unwritable(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A path that nobody can write: not root either, whom rights do not stop."""
    (tmp_path / "file").write_text("precious")
    return tmp_path / str(request.param)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither data nor models are read: whoever reads any before the place fails the test."""

    def work(*_: Any, **__: Any) -> None:
        pytest.fail("the place is looked at after the work")

    import tooltune.evaluate.compare
    import tooltune.models.load
    import tooltune.traces.load
    import tooltune.train.data

    monkeypatch.setattr(tooltune.evaluate.compare, "load_evaluation", work)
    for name in ("load_tokenizer", "load_model"):
        monkeypatch.setattr(tooltune.models.load, name, work)
    monkeypatch.setattr(tooltune.traces.load, "load_traces", work)
    monkeypatch.setattr(tooltune.train.data, "load_source", work)
    monkeypatch.setattr(tooltune.train.data, "prepare_data", work)


def assert_refused_for(place: Path, *words: str | Path) -> None:
    said = refused(*words)
    lines = said.strip().splitlines()
    reasons = map(os.strerror, REASONS)
    assert len(lines) == 2, said
    assert lines[0].startswith(f"error: {place} cannot be written: ")
    assert any(lines[0].endswith(reason) for reason in reasons), said
    assert lines[1].startswith("  fix: ")


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("option", ["--fix", "--redact", "--html"])
def test_check_looks_at_its_outputs_first(
    model: Path, data: Path, unwritable: Path, option: str
) -> None:
    assert_refused_for(unwritable, "check", data, "--model", model, option, unwritable)


@pytest.mark.usefixtures("no_work")
def test_init_looks_at_its_output_first(model: Path, data: Path, unwritable: Path) -> None:
    assert_refused_for(unwritable, "init", data, "--model", model, "--out", unwritable)


@pytest.mark.usefixtures("no_work")
def test_convert_looks_at_its_output_first(model: Path, data: Path, unwritable: Path) -> None:
    tokens = unwritable.with_suffix(".parquet")
    assert_refused_for(unwritable, "convert", data, "--out", unwritable)
    assert_refused_for(tokens, "convert", data, "--out", tokens, "--tokenized", "--model", model)


@pytest.mark.usefixtures("no_work")
def test_compare_looks_at_its_folder_first(unwritable: Path) -> None:
    assert_refused_for(unwritable, "compare", "a", "b", "--out", unwritable)


@pytest.mark.usefixtures("no_work")
def test_eval_looks_at_its_folder_first(model: Path, data: Path, unwritable: Path) -> None:
    assert_refused_for(unwritable, "eval", "--model", model, "--data", data, "--out", unwritable)


def test_rescoring_looks_at_its_folder(evaluations: tuple[Path, Path], unwritable: Path) -> None:
    assert_refused_for(unwritable, "eval", "--rescore", evaluations[0], "--out", unwritable)


def test_schema_says_why_it_cannot_write(unwritable: Path, tmp_path: Path) -> None:
    assert_refused_for(unwritable, "schema", "--out", unwritable)
    assert_refused_for(tmp_path, "schema", "--out", tmp_path)  # a folder


def test_a_missing_folder_is_named_with_the_command_that_makes_it(
    model: Path, data: Path, tmp_path: Path
) -> None:
    file = tmp_path / "my folder" / "x.jsonl"
    for words in (
        ["schema", "--out", file],
        ["init", data, "--model", model, "--out", file],
        ["convert", data, "--out", file],
        ["check", data, "--fix", file],
    ):
        said = refused(*words)
        assert f"{file}: its folder does not exist" in said
        assert f"fix: mkdir -p '{file.parent}'" in said
    assert not file.parent.exists()


def test_schema_writes_where_no_other_file_can_be(tmp_path: Path) -> None:
    """A pipe or a device has no folder that takes files."""
    assert succeeds("schema", "--out", os.devnull).code == 0


def test_a_folder_that_exists_and_takes_no_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"^/proc cannot be written: "):
        places.make_folder(Path("/proc"))


def test_looking_at_a_place_leaves_nothing_there(tmp_path: Path) -> None:
    places.require_writable(tmp_path / "x.jsonl")
    places.make_folder(tmp_path / "a" / "b")
    assert files_below(tmp_path) == []
    assert (tmp_path / "a" / "b").is_dir()
