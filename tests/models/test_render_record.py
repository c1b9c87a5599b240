"""A saved model says how its prompts were rendered, and is asked the same way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltune.errors import UserError
from tooltune.models.render_record import FILE, read_render_record, write_render_record
from tooltune.render.spec import LossWeights, RenderSpec

KWARGS = st.dictionaries(st.text(max_size=8), st.booleans() | st.text(max_size=8), max_size=3)


@given(
    kwargs=KWARGS,
    length=st.integers(1, 10**6),
    flag=st.booleans(),
    reasoning=st.floats(0, 10),
)
def test_what_was_written_is_read(
    kwargs: dict[str, bool | str],
    length: int,
    flag: bool,
    reasoning: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("record")
    spec = RenderSpec(
        chat_template_kwargs=kwargs,
        date="2026-01-31",
        drop_history_reasoning_content=flag,
        seq_length=length,
        truncate_history=flag,
        control_tokens="escape",
        loss_weights=LossWeights(reasoning=reasoning),
    )
    write_render_record(spec, folder)
    assert read_render_record(folder) == spec


def test_a_model_without_a_record_has_the_defaults(tmp_path: Path) -> None:
    assert read_render_record(tmp_path) == RenderSpec()
    assert read_render_record("owner/name") == RenderSpec()


@pytest.mark.parametrize("text", ["{", "[]", '{"alien": 1}', '{"seq_length": "many"}'])
def test_a_broken_record_is_one_clear_error(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match=FILE):
        read_render_record(tmp_path)


def test_a_record_is_found_from_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_render_record(RenderSpec(date="2026-01-31"), tmp_path)
    assert read_render_record("~").date == "2026-01-31"
