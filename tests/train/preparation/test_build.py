"""Prepared once, reused when nothing changed, made anew when anything did; the same each time."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.traces.formats.test_bfcl import ANSWER, QUESTION
from tooltune.errors import UserError
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import RenderedTrace, Renderer, render_traces
from tooltune.traces.ledger import Ledger
from tooltune.traces.load import load_source
from tooltune.traces.source import TraceSource, trace_source
from tooltune.train.preparation import key as cache_key
from tooltune.train.preparation.build import Preparing, prepare_source
from tooltune.train.preparation.store import Store
from tooltune.train.preparation.view import PreparedTraces


def rows(store: Store) -> list[RenderedTrace]:
    return [store.read(i, key) for i, key in enumerate(store.keys) if store.rendered[i]]


def renders(source: TraceSource, renderer: Renderer, how: Preparing | None = None) -> int:
    """Template calls that preparing takes: 0 where the cache is reused."""
    before = renderer.template.renders
    prepare_source(source, renderer, how)
    return renderer.template.renders - before


def content(cache: Path) -> dict[str, bytes]:
    """The files of the one entry, without its manifest's checksum of itself."""
    [entry] = [path for path in cache.iterdir() if not path.name.startswith(".")]
    return {path.name: path.read_bytes() for path in sorted(entry.iterdir())}


BAD_ROWS = ['{"messages": []}', "not json", '{"messages": [{"role": "user", "content": "hi"}]}']


def with_bad_rows(data: Path) -> Path:
    data.write_text(data.read_text() + "".join(f"{row}\n" for row in BAD_ROWS))
    return data


# --- what comes out ---------------------------------------------------------------------------


def test_prepared_traces_equal_those_rendered_in_memory(
    cache: Path, data: Path, renderer: Renderer
) -> None:
    source = trace_source(with_bad_rows(data))
    store = prepare_source(source, renderer)
    loaded = load_source(source)
    expected = render_traces(renderer, loaded, loaded.ledger)
    assert rows(store) == expected
    assert [k.id for k in store.keys] == [t.id for t in loaded]
    assert sorted(map(str, store.rejections)) == sorted(map(str, loaded.ledger.rejections))
    assert store.rows_read == loaded.rows_read == len(expected) + len(store.rejections)


def test_the_tools_of_some_rows_are_known_without_reading_them(
    cache: Path, data: Path, renderer: Renderer
) -> None:
    store = prepare_source(trace_source(data), renderer)
    some = np.array([0, 7, 30], np.int64)
    view = PreparedTraces(store, some, [store.keys[i] for i in some])
    assert view.tools == {tool.name for row in view for tool in row.trace.tools} != set()
    assert view[:0].tools == frozenset()


def test_rejections_stand_in_the_order_of_the_rows(
    cache: Path, data: Path, renderer: Renderer
) -> None:
    store = prepare_source(trace_source(with_bad_rows(data)), renderer)
    assert [rejection.row for rejection in store.rejections] == [40, 41, 42]


def test_the_account_is_the_same_from_the_cache(
    cache: Path, data: Path, renderer: Renderer
) -> None:
    source = trace_source(with_bad_rows(data))
    first, second = prepare_source(source, renderer), prepare_source(source, renderer)
    for name in ("rejections", "rows_read", "counts", "keys"):
        assert getattr(first, name) == getattr(second, name)
    assert rows(first) == rows(second)


def test_special_tokens_read_as_text_are_counted_from_the_cache_too(
    cache: Path, tmp_path: Path, renderer: Renderer
) -> None:
    row = {
        "messages": [
            {"role": "user", "content": "what is <|endoftext|>?"},
            {"role": "assistant", "content": "a token"},
        ]
    }
    (tmp_path / "one.jsonl").write_text(json.dumps(row))
    source = trace_source(tmp_path / "one.jsonl")
    counts = [prepare_source(source, renderer).counts for _ in range(2)]
    assert counts[0] == counts[1]
    assert counts[0]["escaped_strings"] > 0


@pytest.mark.parametrize("how", ["weight", "drop"])
def test_duplicates_are_treated_as_in_memory(
    how: Any, cache: Path, data: Path, renderer: Renderer
) -> None:
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join([*lines, lines[3], lines[0], lines[3]]))
    source = trace_source(data, deduplicate=how)
    loaded = load_source(source)
    store = prepare_source(source, renderer)
    assert rows(store) == render_traces(renderer, loaded, Ledger())
    assert store.rejections == tuple(loaded.ledger.rejections)
    assert len(store.keys) == (40 if how == "drop" else 43)


def requests_of(data: Path) -> list[dict[str, Any]]:
    """Each conversation as a log has it: one row for each turn, with all that came before."""
    logged = []
    for line in data.read_text().splitlines():
        row = json.loads(line)
        ends = [i + 1 for i, m in enumerate(row["messages"]) if m["role"] == "assistant"]
        logged += [{**row, "messages": row["messages"][:end]} for end in ends]
    return logged


def test_requests_are_stitched_as_in_memory(cache: Path, data: Path, renderer: Renderer) -> None:
    logged = requests_of(data)
    data.write_text("".join(json.dumps(row) + "\n" for row in logged[::2] + logged[1::2]))
    source = trace_source(data, stitch=True)
    loaded = load_source(source)
    store = prepare_source(source, renderer)
    by_row = sorted(loaded, key=lambda trace: trace.source.row if trace.source else -1)
    assert [row.trace for row in rows(store)] == by_row
    assert store.counts["absorbed"] == loaded.absorbed > 0
    assert len(store.keys) + store.counts["absorbed"] == store.rows_read == len(logged)


# --- reused, or made anew ---------------------------------------------------------------------


def test_sessions_and_other_traces_are_numbered_as_in_memory(
    cache: Path, tmp_path: Path, renderer: Renderer
) -> None:
    turns = [{"role": role, "content": "!"} for role in ("user", "assistant")]
    request = {"request": {"messages": turns[:1]}, "response": turns[1]}
    for name, lines in (("b", [request, {"messages": turns}]), ("a", [{"messages": turns}])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = trace_source([tmp_path / "b.jsonl", tmp_path / "a.jsonl"])
    loaded = [(trace.id, trace.source) for trace in load_source(source)]
    assert [(key.id, key.source) for key in prepare_source(source, renderer).keys] == loaded
    assert len(loaded) == 3


def test_the_second_start_renders_nothing(cache: Path, data: Path, renderer: Renderer) -> None:
    source = trace_source(data)
    assert renders(source, renderer) > 0
    assert renders(source, renderer) == 0


def test_the_date_counts_only_where_the_template_reads_it(
    cache: Path, data: Path, builtin_tokenizer: Any
) -> None:
    plain = builtin_tokenizer.chat_template
    for template, again in ((plain, 0), ('{{ strftime_now("%d") }}' + plain, 1)):
        days = [
            Renderer(builtin_tokenizer, RenderSpec(chat_template=template, date=f"2026-01-0{day}"))
            for day in (1, 2)
        ]
        assert renders(trace_source(data), days[0]) > 0
        assert (renders(trace_source(data), days[1]) > 0) == again


def test_a_changed_byte_of_the_data_prepares_anew(
    cache: Path, data: Path, renderer: Renderer
) -> None:
    prepare_source(trace_source(data), renderer)
    data.write_text(data.read_text().replace("a", "b", 1))
    assert renders(trace_source(data), renderer) > 0


def test_changed_answers_beside_the_questions_prepare_anew(
    cache: Path, tmp_path: Path, renderer: Renderer
) -> None:
    """Some data sets keep the answers in a file of their own, which reading joins."""
    questions, answers = tmp_path / "q.json", tmp_path / "possible_answer" / "q.json"
    answers.parent.mkdir()
    questions.write_text(json.dumps(QUESTION) + "\n")
    answers.write_text(json.dumps(ANSWER) + "\n")
    prepare_source(trace_source(questions), renderer)
    answers.write_text(json.dumps(ANSWER).replace("[2,", "[3,") + "\n")
    assert renders(trace_source(questions), renderer) > 0


def test_another_reading_of_the_same_file_prepares_anew(
    cache: Path, data: Path, renderer: Renderer
) -> None:
    prepare_source(trace_source(data), renderer)
    assert renders(trace_source(data, limit=5), renderer) > 0
    assert renders(trace_source(data, deduplicate="drop"), renderer) > 0


@pytest.mark.parametrize(
    "spec",
    [
        RenderSpec(train_on_last_turn_only=True),
        RenderSpec(chat_template_kwargs={"enable_thinking": False}),
    ],
    ids=["a flag", "a template argument"],
)
def test_another_specification_prepares_anew(
    spec: RenderSpec, cache: Path, data: Path, builtin_tokenizer: Any
) -> None:
    prepare_source(trace_source(data), Renderer(builtin_tokenizer))
    assert renders(trace_source(data), Renderer(builtin_tokenizer, spec)) > 0


def test_another_template_prepares_anew(cache: Path, data: Path, builtin_tokenizer: Any) -> None:
    prepare_source(trace_source(data), Renderer(builtin_tokenizer))
    template = builtin_tokenizer.chat_template + "{# a remark #}"
    changed = Renderer(builtin_tokenizer, RenderSpec(chat_template=template))
    assert renders(trace_source(data), changed) > 0


def test_another_tokenizer_prepares_anew(cache: Path, data: Path, builtin_tokenizer: Any) -> None:
    import copy

    prepare_source(trace_source(data), Renderer(builtin_tokenizer))
    other = copy.deepcopy(builtin_tokenizer)
    other.add_tokens(["a token that no text has"])
    assert renders(trace_source(data), Renderer(other)) > 0


@pytest.mark.parametrize("what", ["_version", "_code"])
def test_another_version_prepares_anew(
    what: str, cache: Path, data: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_source(trace_source(data), renderer)
    monkeypatch.setattr(cache_key, what, lambda *_: "another")
    assert renders(trace_source(data), renderer) > 0


def test_what_has_no_version_is_prepared_each_time_and_leaves_nothing(
    cache: Path, data: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_key, "_commits", lambda source: None)
    said: list[str] = []
    how = Preparing(say=said.append)
    store = prepare_source(trace_source(data), renderer, how)
    assert renders(trace_source(data), renderer, how) > 0
    assert "not kept" in said[0]
    assert list(cache.iterdir()) == []
    assert len(rows(store)) == 40  # what is mapped outlives its files


# --- damage, death and company ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["records.arrows", "index.arrow", "ledger.jsonl", "manifest.json"])
@pytest.mark.parametrize("how", ["flip", "cut", "remove"])
def test_a_damaged_entry_is_noticed_and_made_anew(
    name: str, how: str, cache: Path, data: Path, renderer: Renderer
) -> None:
    source = trace_source(with_bad_rows(data))
    expected = rows(prepare_source(source, renderer))
    good = content(cache)
    [entry] = cache.iterdir()
    path = entry / name
    data_of = bytearray(path.read_bytes())
    if how == "remove":
        path.unlink()
    elif how == "cut":
        path.write_bytes(data_of[:-9])
    else:
        data_of[len(data_of) // 2] ^= 1
        path.write_bytes(data_of)
    said: list[str] = []
    store = prepare_source(source, renderer, Preparing(say=said.append))
    assert "damaged" in said[0]
    assert rows(store) == expected
    assert content(cache) == good


def test_damage_found_while_training_says_so_and_the_next_start_mends_it(
    cache: Path, data: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tooltune.train.preparation.store._CHECKED_AT_ONCE", 0)
    prepare_source(trace_source(data), renderer)
    [entry] = cache.iterdir()
    altered = bytearray((entry / "records.arrows").read_bytes())
    altered[-100] ^= 1
    (entry / "records.arrows").write_bytes(altered)
    store = prepare_source(trace_source(data), renderer)
    with pytest.raises(UserError, match="altered on disk"):
        rows(store)
    assert len(rows(prepare_source(trace_source(data), renderer))) == 40


def test_a_killed_preparation_leaves_no_entry_and_is_cleared_away(
    cache: Path, data: Path, renderer: Renderer
) -> None:
    def die(done: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    child = os.fork()
    if not child:
        try:
            prepare_source(trace_source(data), renderer, Preparing(progress=die))
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert [path.name[:9] for path in cache.iterdir()] == [".staging-"]
    assert len(rows(prepare_source(trace_source(data), renderer))) == 40
    assert not any(path.name.startswith(".") for path in cache.iterdir())


def test_two_that_prepare_the_same_at_once_both_succeed(
    cache: Path, data: Path, renderer: Renderer
) -> None:
    source = trace_source(data)
    others: list[Store] = []

    def meanwhile(done: int) -> None:
        if not others:
            others.append(prepare_source(source, renderer))

    mine = prepare_source(source, renderer, Preparing(progress=meanwhile))
    assert rows(mine) == rows(others[0])
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_named_with_the_fix(
    tmp_path: Path, data: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("TOOLTUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="TOOLTUNE_CACHE"):
        prepare_source(trace_source(data), renderer)
