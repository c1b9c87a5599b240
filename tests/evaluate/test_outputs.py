"""What was generated outlives whatever happens to the process that generated it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.fake_source import DECIDES
from tooltune.errors import UserError
from tooltune.evaluate.outputs import Output, OutputLog, read_generation
from tooltune.toolcalls.types import ParsedToolCall

TEXT = st.text(st.characters(codec=None), max_size=30)  # half characters among them
CALLS = st.builds(
    ParsedToolCall,
    name=st.none() | TEXT,
    arguments=st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT, max_size=2),
    raw=TEXT,
    span=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
OUTPUTS = st.builds(
    Output,
    dataset=st.sampled_from(["held_out", "other"]),
    sample_id=TEXT,
    repeat=st.integers(0, 3),
    prompt_id=TEXT,
    text=TEXT,
    token_ids=st.none() | st.lists(st.integers(0, 10**6), max_size=4).map(tuple),
    tokens=st.none() | st.integers(0, 9),
    calls=st.none() | st.lists(CALLS, max_size=2).map(tuple),
    reasoning=st.none() | TEXT,
    teacher_forced_exact=st.none() | st.booleans(),
    draft_nll=st.none() | st.floats(0, 1e9),
    draft_id=st.none() | TEXT,
    ties=st.integers(0, 9),
)


def output(name: str, text: str = "hello", **values: Any) -> Output:
    return Output("held_out", name, 0, f"prompt of {name}", text=text, **values)


def write(folder: Path, *outputs: Output, decides: Any = DECIDES) -> bytes:
    with OutputLog(folder, decides) as log:
        for each in outputs:
            log.append(each)
    return (folder / "outputs.jsonl").read_bytes()


@given(outputs=st.lists(OUTPUTS, max_size=4, unique_by=lambda o: o.key))
def test_outputs_come_back_as_they_were_whatever_text_they_hold(
    outputs: list[Output], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    write(folder, *outputs)
    with OutputLog(folder, DECIDES) as log:
        assert log.outputs == {each.key: each for each in outputs}
        assert log.torn == 0


@given(outputs=st.lists(OUTPUTS, min_size=1, max_size=3, unique_by=lambda o: o.key), data=st.data())
def test_a_file_cut_anywhere_keeps_every_whole_output_and_can_be_continued(
    outputs: list[Output], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    whole = write(folder, *outputs)
    cut = data.draw(st.integers(0, len(whole)))
    (folder / "outputs.jsonl").write_bytes(whole[:cut])
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    kept = sum(end - 1 <= cut for end in ends)  # one that lacks but its line end is whole
    with OutputLog(folder, DECIDES) as log:
        assert list(log.outputs.values()) == outputs[:kept]
        assert log.torn == (cut > 0 and cut not in ends and cut + 1 not in ends)
        for each in outputs[kept:]:
            log.append(each)
    assert (folder / "outputs.jsonl").read_bytes() == whole


def test_a_disk_that_left_zeros_at_the_end_costs_only_those(tmp_path: Path) -> None:
    whole = write(tmp_path, output("a"))
    (tmp_path / "outputs.jsonl").write_bytes(whole + bytes(100))
    with OutputLog(tmp_path, DECIDES) as log:
        assert list(log.outputs) == [("held_out", "a", 0)]
        assert log.torn == 1
    assert (tmp_path / "outputs.jsonl").read_bytes() == whole


@pytest.mark.parametrize("line", [b"nonsense", b"\xff\xfe", b"[]", b'{"sample_id": 3}'])
def test_a_broken_line_in_the_middle_is_named_and_nothing_is_thrown_away(
    tmp_path: Path, line: bytes
) -> None:
    whole = write(tmp_path, output("a"))
    spoilt = whole + line + b"\n" + whole
    (tmp_path / "outputs.jsonl").write_bytes(spoilt)
    with pytest.raises(UserError, match=r"line 2.*no output"):
        OutputLog(tmp_path, DECIDES)
    assert (tmp_path / "outputs.jsonl").read_bytes() == spoilt


def test_outputs_of_other_settings_are_refused_by_the_name_of_the_setting(tmp_path: Path) -> None:
    before = write(tmp_path, output("a"))
    other = {**DECIDES, "max_new_tokens": 16, "sampling": {"temperature": 0.5}}
    with pytest.raises(UserError) as caught:
        OutputLog(tmp_path, other)
    assert "max_new_tokens was 8, is 16" in str(caught.value)
    assert "sampling.temperature was null, is 0.5" in str(caught.value)
    assert "--overwrite" in str(caught.value)
    assert (tmp_path / "outputs.jsonl").read_bytes() == before


def test_overwriting_begins_afresh_and_leaves_no_old_result(tmp_path: Path) -> None:
    write(tmp_path, output("a"))
    (tmp_path / "metrics.json").write_text("{}")
    with OutputLog(tmp_path, {**DECIDES, "model": "n"}, overwrite=True) as log:
        assert log.outputs == {}
    assert not (tmp_path / "metrics.json").exists()
    generation = read_generation(tmp_path)
    assert generation is not None
    assert generation["decides"]["model"] == "n"


def test_outputs_without_a_word_on_their_settings_are_refused(tmp_path: Path) -> None:
    write(tmp_path, output("a"))
    (tmp_path / "generation.json").unlink()
    with pytest.raises(UserError, match="nothing says of which"):
        OutputLog(tmp_path, DECIDES)


def test_settings_without_outputs_are_replaced(tmp_path: Path) -> None:
    write(tmp_path)
    with OutputLog(tmp_path, {**DECIDES, "model": "n"}) as log:
        assert log.outputs == {}


def test_a_failure_is_kept_for_the_record_and_tried_again(tmp_path: Path) -> None:
    with OutputLog(tmp_path, DECIDES) as log:
        log.append(output("a", skip_reason="timeout"))
        assert log.outputs == {}
        log.append(output("b"))
    with OutputLog(tmp_path, DECIDES) as log:
        assert list(log.outputs) == [("held_out", "b", 0)]
        log.append(output("a"))
    with OutputLog(tmp_path, DECIDES) as log:
        assert len(log.outputs) == 2


def test_two_evaluations_never_write_into_one_folder(tmp_path: Path) -> None:
    with (
        OutputLog(tmp_path, DECIDES),
        pytest.raises(UserError, match="another evaluation is writing"),
    ):
        OutputLog(tmp_path, DECIDES)
    with OutputLog(tmp_path, DECIDES):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux' /dev/full")
def test_a_full_disk_is_an_error_of_the_system_at_the_first_output(tmp_path: Path) -> None:
    (tmp_path / "outputs.jsonl").symlink_to("/dev/full")
    with OutputLog(tmp_path, DECIDES) as log, pytest.raises(OSError, match="No space left"):
        log.append(output("a"))


def test_an_infinite_likelihood_is_written_as_strict_json(tmp_path: Path) -> None:
    line = write(tmp_path, output("a", draft_nll=float("inf")))

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert json.loads(line, parse_constant=refuse)["draft_nll"] is None
