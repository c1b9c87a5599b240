"""Hub data sets, with `datasets.load_dataset` replaced: no test goes to the network."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tooltune.errors import UserError
from tooltune.traces import load_traces
from tooltune.traces.source import iter_rows, trace_source


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for the library: `hub.rows` is what it loads, `hub.asked` what it was asked."""
    module = SimpleNamespace(rows=[], asked=None)

    def load_dataset(name: str, *, split: str, revision: str | None, **more: Any) -> Any:
        module.asked = (name, split, revision, *more.items())
        if isinstance(module.rows, Exception):
            raise module.rows
        return module.rows

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)  # type: ignore[arg-type]
    return module


def row(*extra: dict[str, Any], **keys: Any) -> dict[str, Any]:
    user = {"role": "user", "content": "?"}
    return {"messages": [user, {"role": "assistant", "content": "!"}, *extra], **keys}


def test_name_split_and_revision_reach_the_library(hub: SimpleNamespace) -> None:
    hub.rows = [row(), 5, row(), row()]
    traces = load_traces(dataset_name="a/b", split="test[:9]", revision="v1", limit=3)
    assert hub.asked == ("a/b", "test[:9]", "v1")
    assert (traces.rows_read, len(traces), traces.ledger.counts) == (3, 2, {"row_not_an_object": 1})
    assert str(traces[1].source) == "a/b:2"


class Stream:
    """What `datasets` gives when it streams: rows in order, `skip`, and a break where one is."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def skip(self, count: int) -> Stream:
        return Stream(self.rows[count:])

    def __iter__(self) -> Iterator[Any]:
        for item in self.rows:
            if isinstance(item, Exception):
                raise item
            yield item


@pytest.mark.parametrize(
    ("split", "limit", "expected"),
    [
        ("test", None, "012345"),
        ("test", 2, "01"),
        ("test[1:4]", None, "123"),
        ("test[1:4]", 2, "12"),
        ("test[4:]", 9, "45"),
        ("test[3:2]", None, ""),
        ("test[:0]", None, ""),
    ],
)
def test_a_stream_is_cut_row_by_row(
    split: str, limit: int | None, expected: str, hub: SimpleNamespace
) -> None:
    hub.rows = Stream([row(n=str(n)) for n in range(6)])
    source = trace_source(dataset_name="a/b", split=split, limit=limit, streaming=True)
    assert "".join(value["n"] for _, value, _ in iter_rows(source)) == expected
    assert hub.asked == ("a/b", "test", None, ("streaming", True))


def test_a_stream_that_breaks_says_how_far_it_was_read(hub: SimpleNamespace) -> None:
    hub.rows = Stream([row(), row(), ConnectionError("gone")])
    with pytest.raises(UserError, match="after 2 rows ConnectionError: gone"):
        load_traces(dataset_name="a/b", streaming=True)
    assert len(load_traces(dataset_name="a/b", streaming=True, limit=2)) == 2


def test_values_that_are_no_json_are_rejected(hub: SimpleNamespace) -> None:
    hub.rows = [row(image=b"\x89PNG"), row()]
    assert load_traces(dataset_name="a/b").ledger.counts == {"not_json": 1}


def test_keys_that_arrow_merged_in_are_dropped(hub: SimpleNamespace) -> None:
    import pyarrow as arrow

    def calling(name: str, **arguments: Any) -> dict[str, Any]:
        call = {"function": {"name": name, "arguments": arguments}}
        return {"role": "assistant", "tool_calls": [call]}

    def tool(**properties: Any) -> list[dict[str, Any]]:
        return [{"name": "f", "parameters": {"type": "object", "properties": properties}}]

    rows = [
        row(calling("f", city="Bern"), tools=tool(city={"type": "string"})),
        row(calling("f", days=2, tags=[None, "x"]), tools=tool(days={"minimum": 1})),
    ]
    hub.rows = arrow.Table.from_pylist(rows).to_pylist()
    assert hub.rows[0]["messages"][2]["tool_calls"][0]["function"]["arguments"]["days"] is None
    traces = load_traces(dataset_name="a/b")
    assert [dict(trace.messages[2].tool_calls[0].arguments) for trace in traces] == [
        {"city": "Bern"},
        {"days": 2, "tags": [None, "x"]},
    ]
    assert [dict(trace.tools[0].parameters["properties"]) for trace in traces] == [
        {"city": {"type": "string"}},
        {"days": {"minimum": 1}},
    ]


def test_nulls_inside_json_text_stay(hub: SimpleNamespace) -> None:
    call = {"function": {"name": "f", "arguments": '{"x": null}'}}
    hub.rows = [row({"role": "assistant", "content": None, "tool_calls": [call]})]
    trace = load_traces(dataset_name="a/b")[0]
    assert dict(trace.messages[2].tool_calls[0].arguments) == {"x": None}


def test_a_hub_out_of_reach_says_how_to_go_on(hub: SimpleNamespace) -> None:
    hub.rows = ConnectionError("Couldn't reach\n'a/b' on the Hub")
    with pytest.raises(UserError, match="ConnectionError: Couldn't reach 'a/b'") as caught:
        load_traces(dataset_name="a/b")
    assert "path instead of dataset_name" in str(caught.value.fix)


def test_a_file_given_as_hub_id_is_an_error(hub: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row()))
    with pytest.raises(UserError, match="give it as path"):
        load_traces(dataset_name=str(path))
    assert hub.asked is None
