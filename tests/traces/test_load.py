"""Loading local files: what is accepted, what is rejected, and what is an error of the source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.traces.strategies import garbage_rows
from tooltune.errors import UserError
from tooltune.traces import FORMATS, Ledger, Source, Traces, load_traces, require_rows


def row(question: str = "?", answer: str = "!") -> dict[str, Any]:
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"conversations": turns, "tools": "[]"}


def write(path: Path, *rows: Any, newline: str = "\n") -> Path:
    text = newline.join(json.dumps(item, ensure_ascii=False) for item in rows) + newline
    path.write_bytes(text.encode())
    return path


def questions(traces: Traces) -> list[str | None]:
    return [trace.messages[0].content for trace in traces]


def fails(path: Any = None, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_traces(path, **options)
    assert caught.value.fix
    return str(caught.value)


@pytest.mark.parametrize("format", [None, *FORMATS])
@given(rows=st.lists(garbage_rows(), min_size=1, max_size=5))
@settings(max_examples=25)
def test_rows_read_are_accepted_plus_rejected(
    rows: list[Any], format: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "garbage.jsonl"
    lines = [json.dumps(row, default=str).encode() for row in [row(), *rows]]
    path.write_bytes(b"\n".join(lines))
    traces = load_traces(path, format=format)
    assert traces.rows_read == len(lines) == len(traces) + len(traces.ledger)
    numbers = [trace.source.row for trace in traces if trace.source is not None]
    numbers += [rejection.row for rejection in traces.ledger.rejections]
    assert sorted(numbers) == list(range(len(lines)))


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows"])
def test_lines_and_documents_are_told_apart_by_what_they_hold(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    rows = [row("a"), row("b")]
    texts = ["\n".join(map(json.dumps, rows)), json.dumps(rows), json.dumps(rows, indent=1)]
    for text in [*texts, "\ufeff" + texts[0], "\ufeff\n " + texts[2] + " \n"]:
        path.write_text(text, encoding="utf-8")
        traces = load_traces(path)
        assert questions(traces) == ["a", "b"]
        assert traces.format == "sharegpt"


def test_a_list_in_json_lines_is_a_bad_row_not_a_document(tmp_path: Path) -> None:
    traces = load_traces(write(tmp_path / "a.jsonl", [row("a")], row("b")))
    assert questions(traces) == ["b"]
    assert traces.ledger.counts == {"row_not_an_object": 1}


def test_one_object_is_one_row(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(row("a"), indent=2))
    assert questions(load_traces(path)) == ["a"]


def test_a_row_knows_where_it_was_read(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.jsonl", row("a")), write(tmp_path / "b.jsonl", 5, row("b"))
    traces = load_traces([first, str(second)])
    assert [trace.source for trace in traces] == [Source(str(first), 0), Source(str(second), 1)]
    assert [(r.file, r.row, r.code) for r in traces.ledger.rejections] == [
        (str(second), 0, "row_not_an_object")
    ]


def test_lines_end_at_newlines_only_and_blank_lines_are_no_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row("a\u2028b\x85c\x0bd"), row("e"), newline="\r\n\n")
    traces = load_traces(path)
    assert questions(traces) == ["a\u2028b\x85c\x0bd", "e"]
    assert traces.rows_read == 2


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_refused_row_does_not_hide_the_others(name: str, tmp_path: Path) -> None:
    good = json.dumps(row("good"))
    bad = {
        '{"messages": 1, "messages": "]}"}': "duplicate_key",
        '{"x": [1e999, "}"]}': "non_finite_number",
        "NaN": "non_finite_number",
        "9" * 5000: "number_too_long",
        "[" * 5000 + "]" * 5000: "too_deep",
        r'{"x": "\ud800"}': "lone_surrogate",
    }
    rows = [good, *(text for pair in zip(bad, [good] * len(bad), strict=True) for text in pair)]
    text = "\n".join(rows) if name == "a.jsonl" else "[" + ",\n".join(rows) + "]"
    (tmp_path / name).write_text(text)
    traces = load_traces(tmp_path / name)
    assert [(r.row, r.code) for r in traces.ledger.rejections] == [
        (2 * i + 1, code) for i, code in enumerate(bad.values())
    ]
    assert len(traces) == len(bad) + 1


def test_a_broken_line_is_one_rejected_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"messages"\n\xff\n' + json.dumps(row()).encode() + b'\n{"a": 1} 2\n')
    traces = load_traces(path)
    assert (len(traces), traces.rows_read) == (1, 4)
    assert [r.code for r in traces.ledger.rejections] == [
        "invalid_json",
        "not_utf8",
        "invalid_json",
    ]
    assert "line 1, column 12" in traces.ledger.rejections[0].reason
    assert "line 4, column 10" in traces.ledger.rejections[2].reason


def test_formats_may_be_mixed(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    call = {"role": "tool_call", "content": '{"name": "f"}'}
    rows = [row(), {"messages": messages}, {"messages": [*messages, call]}, row()]
    traces = load_traces(write(tmp_path / "a.jsonl", *rows))
    assert traces.format_counts == {"sharegpt": 2, "openai": 1, "chatml": 1}
    assert traces.format == "sharegpt, openai, chatml"


def test_copies_are_numbered_and_share_their_group(tmp_path: Path) -> None:
    rows = [row(), row(), row("other"), row()]
    first, second, other, third = load_traces(write(tmp_path / "a.jsonl", *rows))
    assert first.id == first.content_id
    assert (second.id, third.id) == (f"{first.id}-2", f"{first.id}-3")
    assert first.group == second.group != other.group
    assert len(first.group) == 16


def test_the_group_ignores_case_space_and_unicode_form(tmp_path: Path) -> None:
    rows = [row("Zürich  now\n"), row("zu\u0308rich NOW", "other"), row("Zürich later")]
    first, second, other = load_traces(write(tmp_path / "a.jsonl", *rows))
    assert first.group == second.group != other.group


def test_copies_without_a_user_message_share_their_group(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "assistant", "content": "!"}]
    path = write(tmp_path / "a.jsonl", {"messages": turns}, {"messages": turns})
    first, second = load_traces(path)
    assert first.id != second.id
    assert first.group == second.group


@pytest.mark.parametrize(
    ("split", "limit", "expected"),
    [
        ("train", None, "0123456789"),
        ("train", 3, "012"),
        ("train[:4]", None, "0123"),
        ("train[:4]", 2, "01"),
        ("train[2:5]", None, "234"),
        ("train[8:]", None, "89"),
        ("train[-2:]", None, "89"),
        ("train[:-7]", None, "012"),
        ("train[:20%]", None, "01"),
        ("train[50%:70%]", 1, "5"),
        ("train[-10%:]", None, "9"),
        ("train[-12:9]", None, "012345678"),
        ("train[5:99]", None, "56789"),
        ("train[:0]", None, ""),
    ],
)
def test_slices_and_limits_choose_the_rows_read(
    split: str, limit: int | None, expected: str, tmp_path: Path
) -> None:
    paths = [write(tmp_path / f"{n}.jsonl", *map(row, n)) for n in ("0123", "456789")]
    traces = load_traces(paths, split=split, limit=limit)
    assert "".join(str(question) for question in questions(traces)) == expected
    assert traces.rows_read == len(expected)


def test_a_slice_is_the_one_that_the_datasets_library_takes(tmp_path: Path) -> None:
    import datasets

    path = write(tmp_path / "a.jsonl", *(row(str(i)) for i in range(7)))
    for split in ("train[:3]", "train[10%:]", "train[:35%]", "train[-3:-1]", "train[-40%:]"):
        theirs = datasets.load_dataset(
            "json", data_files=str(path), split=split, cache_dir=str(tmp_path)
        )
        expected = [turns[0]["value"] for turns in theirs["conversations"]]
        assert questions(load_traces(path, split=split)) == expected


def test_rejections_go_to_the_ledger_that_is_given(tmp_path: Path) -> None:
    ledger = Ledger()
    traces = load_traces(write(tmp_path / "a.jsonl", row(), {}), ledger=ledger)
    assert traces.ledger is ledger
    assert ledger.counts == {"no_messages": 1}


def test_no_such_file_suggests_a_close_name(tmp_path: Path) -> None:
    write(tmp_path / "traces.jsonl", row())
    assert str(tmp_path / "traces.jsonl") in fails(tmp_path / "trace.jsonl")
    assert "does not exist either" in fails(tmp_path / "no" / "trace.jsonl")
    assert "dataset_name: llamafactory/glaive" in fails("llamafactory/glaive")
    for path in ("x" * 5000, "a\0b", "\ud800"):
        assert "no such file" in fails(path)


def test_a_folder_names_the_files_in_it(tmp_path: Path) -> None:
    assert "give a JSON file" in fails(tmp_path)
    write(tmp_path / "traces.jsonl", row())
    assert "traces.jsonl" in fails(tmp_path)


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xef\xbb\xbf\n"])
def test_an_empty_file_is_an_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert "is empty" in fails(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"messages:\n- role: user\n", "line 1, column 1"),
        (b'[{"messages": []},\n {"a" 1}]', "line 2, column 7"),
        (b'[{"a": 1}\n {"a": 1}]', "line 2, column 2"),
        (b'[\n{"a": 1},\n]', "line 3, column 1"),
        (b'[\n{"a": 1}', "line 2, column 9"),
        (b"[\n" + b"[" * 5000, "nested"),
        (b"\xff\xfe{\x00}\x00", "UTF-8"),
    ],
)
def test_a_file_that_is_not_json_is_an_error_with_its_place(
    name: str, content: bytes, place: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    message = fails(tmp_path / name)
    assert "is not JSON" in message
    assert place in message


def test_text_behind_a_document_is_an_error(tmp_path: Path) -> None:
    for text in ("[]\n[]", '{\n"a": 1}\n{"b": 2}'):
        (tmp_path / "a.json").write_text(text)
        assert "Extra data" in fails(tmp_path / "a.json")


def test_other_mistakes_in_the_call_are_errors(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row())
    assert "neither path nor dataset_name" in fails()
    assert "both path and dataset_name" in fails(path, dataset_name="a/b")
    assert "only the split 'train'" in fails(path, split="test[:5]")
    assert "not understood" in fails(path, split="train[:5")
    assert "did you mean sharegpt?" in fails(path, format="shargpt")
    assert "limit is 0" in fails(path, limit=0)
    assert "revision" in fails(path, revision="main")
    assert "empty list" in fails([])
    (tmp_path / "a.csv").write_bytes(b"a,b")
    assert ".csv files are not read" in fails(tmp_path / "a.csv")


def test_a_missing_file_is_found_before_any_row_is_read(tmp_path: Path) -> None:
    ledger = Ledger()
    bad = write(tmp_path / "a.jsonl", {})
    fails([bad, tmp_path / "gone.jsonl"], ledger=ledger)
    assert not ledger.rejections


def test_no_usable_row_is_an_error_with_the_most_frequent_reasons(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", 5, {}, {})
    traces = load_traces(path)
    with pytest.raises(UserError) as caught:
        require_rows(traces)
    message = str(caught.value)
    assert "none of 3 rows" in message
    assert f"2 x no_messages, first {path}:1" in message
    with pytest.raises(UserError, match="no rows to read"):
        require_rows(load_traces(path, split="train[:0]"))
    good = load_traces(write(path, row()))
    assert require_rows(good) is good


def test_conditions_that_no_row_meets_are_blamed_and_not_the_rows(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"messages": turns, "outcome": "good"}))
    for options in ({"where": {"outcom": "good"}}, {"weight_by": "outcom"}):
        with pytest.raises(UserError, match="did you mean 'outcome'") as caught:
            require_rows(load_traces(path, **options))  # type: ignore[arg-type]
        assert caught.value.fix is not None
        assert "where, columns" in caught.value.fix
