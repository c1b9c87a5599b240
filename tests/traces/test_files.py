"""Rows of files: every container gives the rows that plain JSON lines give, or a named error."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.traces.containers import (
    JSON_FILES,
    TABLE_FILES,
    as_array,
    as_lines,
    write_lines,
    write_table,
    zstd,
)
from tests.traces.strategies import TEXT, json_objects
from tooltune.errors import UserError
from tooltune.traces import jsonrows
from tooltune.traces.files import expand_path, file_rows
from tooltune.traces.jsonio import RowError


def fails(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        list(file_rows(path))
    assert caught.value.fix
    return str(caught.value)


def codes(path: Path) -> list[Any]:
    return [row.code if isinstance(row, RowError) else row for row in file_rows(path)]


# Properties ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", JSON_FILES)
@given(rows=st.lists(json_objects(), min_size=1, max_size=6))
@settings(max_examples=15)
def test_every_json_container_gives_the_rows_that_were_written(
    name: str, rows: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("json") / name
    path.write_bytes(JSON_FILES[name](rows))
    assert list(file_rows(path)) == rows


_turn = st.fixed_dictionaries({"role": TEXT, "content": TEXT}, optional={"name": TEXT})
_row = st.fixed_dictionaries(
    {"id": st.integers(0, 9), "tools": json_objects().map(json.dumps)},
    optional={"messages": st.lists(_turn, min_size=1, max_size=3), "score": st.just(0.5)},
)


@pytest.mark.parametrize("name", TABLE_FILES)
@given(rows=st.lists(_row, min_size=1, max_size=8))
@settings(max_examples=15)
def test_a_table_gives_the_rows_of_json_lines_with_missing_columns_null(
    name: str, rows: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    lines = list(file_rows(write_lines(folder / "a.jsonl", rows)))
    table = list(file_rows(write_table(folder / name, rows)))
    columns = dict.fromkeys(rows[0])  # what from_pylist makes columns of
    assert table == [{key: row.get(key) for key in columns} for row in lines]


@given(rows=st.lists(json_objects(), min_size=1, max_size=4), chunk=st.integers(1, 40))
@settings(max_examples=80)
def test_where_the_window_ends_makes_no_difference_to_an_array(
    rows: list[Any], chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("chunks") / "a.json"
    for ascii_only in (True, False):
        path.write_text(json.dumps(rows, ensure_ascii=ascii_only, indent=1), encoding="utf-8")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jsonrows, "_CHUNK", chunk)
            assert list(file_rows(path)) == rows


@given(data=st.data(), chunk=st.integers(1, 30))
@settings(max_examples=120)
def test_a_damaged_array_gives_the_same_rows_and_error_whatever_the_window(
    data: st.DataObject, chunk: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = data.draw(st.lists(json_objects() | st.sampled_from([1e5, "é\\", None]), min_size=1))
    raw = bytearray(json.dumps(rows, ensure_ascii=data.draw(st.booleans()), indent=1).encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at : at + 1] = data.draw(
        st.sampled_from([b"", b'"', b"]", b"}", b"{", b",", b"\xff", b"1"])
    )
    path = tmp_path_factory.mktemp("damaged") / "a.json"
    path.write_bytes(raw or b" ")

    def outcome(size: int) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jsonrows, "_CHUNK", size)
            found: list[Any] = []
            try:
                found += [str(row) for row in file_rows(path)]
            except UserError as error:
                return str(error)
            return found

    assert outcome(chunk) == outcome(1 << 20)


# Broken files -------------------------------------------------------------------------------

ROWS = [{"n": n, "text": f"text of row {n} {os.urandom(20).hex()}"} for n in range(2000)]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.json.gz"])
@pytest.mark.parametrize("part", [0.3, 0.9])
def test_a_cut_compressed_file_says_how_far_it_could_be_read(
    name: str, part: float, tmp_path: Path
) -> None:
    data = JSON_FILES[name](ROWS)
    (tmp_path / name).write_bytes(data[: int(len(data) * part)])
    found: list[Any] = []
    with pytest.raises(UserError) as caught:
        found.extend(file_rows(tmp_path / name))
    assert f"{name} is broken or cut off: {len(found)} rows could be read" in str(caught.value)
    assert found == ROWS[: len(found)] != ROWS


def test_a_damaged_compressed_file_is_an_error(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(as_lines(ROWS)))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.jsonl.gz").write_bytes(data)
    assert "broken" in fails(tmp_path / "a.jsonl.gz")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(as_lines(ROWS)) + b"tail")
    assert "broken" in fails(tmp_path / "b.jsonl.gz")


@pytest.mark.parametrize("name", TABLE_FILES)
def test_a_cut_table_is_an_error(name: str, tmp_path: Path) -> None:
    path = write_table(tmp_path / name, ROWS)
    data = path.read_bytes()
    for part in (0.2, 0.6, 0.999):
        path.write_bytes(data[: int(len(data) * part)])
        assert "broken or cut off" in fails(path)


@pytest.mark.parametrize("name", TABLE_FILES)
@given(data=st.data())
@settings(max_examples=20)
def test_a_damaged_table_gives_rows_or_a_named_error(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write_table(tmp_path_factory.mktemp("damaged") / name, ROWS[:30])
    raw = bytearray(path.read_bytes())
    for _ in range(3):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        assert len(list(file_rows(path))) <= 30
    except UserError as error:
        assert error.fix


@pytest.mark.parametrize("name", ["a.gz", "a.zst", "a.parquet", "a.arrow", "a.jsonl.zst"])
def test_a_file_that_is_not_what_its_name_says_is_an_error(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(as_lines(ROWS[:2]))
    assert "does not begin as such a file does" in fails(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    assert "is empty" in fails(tmp_path / name)


def test_files_that_are_known_but_not_read_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1")
    assert "git lfs pull" in fails(tmp_path / "a.parquet")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and more")
    assert "unpack it" in fails(tmp_path / "a.zip")


def test_nothing_inside_a_compressed_file_is_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b" \n\n"))
    assert "is empty" in fails(tmp_path / "a.jsonl.gz")
    (tmp_path / "a.json.zst").write_bytes(zstd(b"\n "))
    assert "is empty" in fails(tmp_path / "a.json.zst")


# Rows ---------------------------------------------------------------------------------------


def test_lines_end_at_newlines_only_in_compressed_files_too(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b\x85c\x0bd\x1ce"}, {"text": "f"}]
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        (tmp_path / name).write_bytes(JSON_FILES[name](rows))
        assert list(file_rows(tmp_path / name)) == rows


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
def test_a_row_that_is_too_large_is_rejected_and_hides_no_other(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonrows, "MAX_ROW", 1000)
    large = {"text": 'a "quoted\\" ]} text\\' * 100, "more": [[{"x": "]"}]]}
    rows = [{"n": 1}, large, {"n": 2}, "x" * 5000, {"n": 3}]
    (tmp_path / name).write_bytes(JSON_FILES[name](rows))
    expected = [{"n": 1}, "row_too_large", {"n": 2}, "row_too_large", {"n": 3}]
    for chunk in range(60, 66):  # so that windows end at each kind of character
        monkeypatch.setattr(jsonrows, "_CHUNK", chunk)
        assert codes(tmp_path / name) == expected


def test_a_large_row_that_never_ends_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonrows, "MAX_ROW", 1000)
    monkeypatch.setattr(jsonrows, "_CHUNK", 64)
    for text in ('[{"n": 1}, {"text": "' + "x" * 5000, "[" + "1" * 5000, "[" * 5000):
        (tmp_path / "a.json").write_text(text)
        assert "is not JSON" in fails(tmp_path / "a.json")


def test_the_place_of_an_error_is_exact_behind_many_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonrows, "_CHUNK", 7)
    text = "[\n" + '{"n": "é"},\n' * 50 + '{"a": 1},   {"b" 1}]'
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert "line 52, column 18: Expecting ':' delimiter" in fails(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(text.encode().replace(b"  {", b" \xff{"))
    place = text.encode().index(b"  {") + 1
    assert f"byte {place} is not UTF-8" in fails(tmp_path / "a.json")


def test_an_array_does_not_hold_the_file_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "a.json"
    path.write_bytes(as_array([{"n": n, "text": "x" * 2000} for n in range(10_000)]))
    assert path.stat().st_size > 20e6
    tracemalloc.start()
    try:
        assert sum(1 for _ in file_rows(path)) == 10_000
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


# Tables -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLE_FILES)
def test_keys_that_arrow_merged_in_are_dropped_at_every_depth(name: str, tmp_path: Path) -> None:
    rows = [
        {"calls": [{"arguments": {"city": "Bern", "at": {"x": 1}}}], "text": '{"x": null}'},
        {"calls": [{"arguments": {"days": 2, "tags": [None, "x"], "at": {"y": 2}}}], "text": "a"},
    ]
    assert list(file_rows(write_table(tmp_path / name, rows))) == rows


def test_arrow_values_become_the_json_values_that_they_stand_for(tmp_path: Path) -> None:
    from datetime import date, datetime
    from decimal import Decimal

    rows = [{"at": datetime(2026, 1, 31, 12), "on": date(2026, 1, 31), "price": Decimal("1.50")}]
    path = write_table(tmp_path / "a.parquet", rows)
    assert list(file_rows(path)) == [
        {"at": "2026-01-31T12:00:00", "on": "2026-01-31", "price": 1.5}
    ]
    maps = pa.array(
        [[("city", "Bern")], [("a", "1"), ("a", "2")]], pa.map_(pa.string(), pa.string())
    )
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"arguments": maps}), path)
    assert codes(path) == [{"arguments": {"city": "Bern"}}, "duplicate_key"]


def test_a_value_that_is_no_json_costs_its_row_only(tmp_path: Path) -> None:
    rows = [{"x": 1.0, "b": None}, {"x": float("nan"), "b": None}, {"x": 2.0, "b": b"\x89PNG"}]
    path = write_table(tmp_path / "a.parquet", rows)
    assert codes(path) == [{"x": 1.0, "b": None}, "non_finite_number", "not_json"]


def test_a_table_without_rows_has_none(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"messages": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert list(file_rows(tmp_path / "a.parquet")) == []


# Names --------------------------------------------------------------------------------------


def test_a_glob_names_its_files_in_order(tmp_path: Path) -> None:
    for name in ("b/2.jsonl", "b/1.jsonl", "a.jsonl", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_lines(tmp_path / name, [{}])
    (tmp_path / "d.jsonl").mkdir()
    assert expand_path(tmp_path / "*.jsonl") == (tmp_path / "a.jsonl",)
    assert expand_path(tmp_path / "**" / "*.jsonl") == (
        tmp_path / "a.jsonl",
        tmp_path / "b/1.jsonl",
        tmp_path / "b/2.jsonl",
    )
    write_lines(tmp_path / "a[1].jsonl", [{}])
    assert expand_path(tmp_path / "a[1].jsonl") == (tmp_path / "a[1].jsonl",)


def test_a_glob_that_matches_nothing_names_what_is_there(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.json", [{}])
    with pytest.raises(UserError, match="matches no file") as caught:
        expand_path(tmp_path / "*.jsonl")
    assert "has a.json" in str(caught.value)


def test_a_folder_that_datasets_saved_is_its_arrow_files(tmp_path: Path) -> None:
    import datasets

    rows = [{"n": n, "text": str(n)} for n in range(7)]
    saved = datasets.Dataset.from_list(rows)
    saved.filter(lambda row: row["n"] % 2 == 0).save_to_disk(tmp_path / "one", num_shards=2)
    files = expand_path(tmp_path / "one")
    assert len(files) == 2
    assert [row for file in files for row in file_rows(file)] == rows[::2]
    datasets.DatasetDict({"train": saved}).save_to_disk(tmp_path / "several")
    with pytest.raises(UserError, match=r"the folder of one split: .*several/train"):
        expand_path(tmp_path / "several")
