"""Published data sets that need no format of their own: which one reads them, and how."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.traces.formats.same import assert_same
from tooltune.traces import Message, RowError, Tool, ToolCall, Trace, detect, read_row

TOOL = {
    "name": "bash",
    "description": "Run a command",
    "parameters": {"type": "object", "properties": {"command": {"type": "string"}}},
}

# Salesforce/APIGen-MT-5k: "ShareGPT format" by its card, tools and system as columns of text.
APIGEN_MT = {
    "conversations": [
        {"from": "human", "value": "Please cancel order 12."},
        {"from": "gpt", "value": "May I have your name?"},
        {"from": "human", "value": "Noa."},
        {"from": "function_call", "value": '{"name": "find_user", "arguments": {"name": "Noa"}}'},
        {"from": "observation", "value": '{"id": 7}'},
        {"from": "function_call", "value": '{"name": "cancel", "arguments": {"order": 12}}'},
        {"from": "observation", "value": "Error: order not found"},
        {"from": "gpt", "value": "There is no such order."},
    ],
    "tools": json.dumps([{"name": "find_user"}, {"name": "cancel"}]),
    "system": "# Shop policy\n- Ask for the name.",
}

CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "bash", "arguments": '{"command": "ls"}'},
}


def openhands() -> dict[str, Any]:
    """nebius/SWE-rebench-openhands-trajectories: `trajectory`, absent fields null."""
    nothing = {"tool_calls": None, "tool_call_id": None, "name": None}
    return {
        "instance_id": "o__r-1",
        "trajectory": [
            {"role": "system", "content": "You code.", **nothing},
            {"role": "user", "content": [{"type": "text", "text": "Fix it."}], **nothing},
            {"role": "assistant", "content": [], **nothing, "tool_calls": [CALL]},
            {"role": "tool", "content": "a.py", **nothing, "tool_call_id": "c1", "name": "bash"},
            {"role": "assistant", "content": "Done.", **nothing},
        ],
        "tools": [{"type": "function", "function": TOOL}],
        "resolved": 1,
    }


def swe_agent() -> dict[str, Any]:
    """SWE-bench/SWE-smith-trajectories: SWE-agent's history items (`sweagent/types.py`)."""
    said = {"agent": "main", "message_type": "action", "thought": "", "action": "ls"}
    part = {"type": "text", "text": "a.py", "cache_control": {"type": "ephemeral"}}
    return {
        "messages": [
            {
                "role": "system",
                "content": "You code.",
                "agent": "main",
                "message_type": "system_prompt",
            },
            {"role": "user", "content": "Fix it.", "agent": "main", "message_type": "observation"},
            {"role": "assistant", "content": "", "tool_calls": [CALL], **said},
            {
                "role": "tool",
                "content": [part],
                "agent": "main",
                "message_type": "observation",
                "tool_call_ids": ["c1"],
            },
            {"role": "assistant", "content": "Done.", "tool_calls": None, **said},
        ],
        "tools": [{"type": "function", "function": TOOL}],
        "traj_id": "t",
    }


def nemotron() -> dict[str, Any]:
    """nvidia/Nemotron-Post-Training-Dataset-v1 (tool_calling): tools in `metadata`, a JSON text."""
    return {
        "uuid": "u",
        "messages": [
            {"role": "system", "content": "You code.", "tool_calls": []},
            {"role": "user", "content": "Fix it.", "tool_calls": []},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "a.py", "tool_calls": [], "tool_call_id": "c1"},
            {"role": "assistant", "content": "Done.", "tool_calls": []},
        ],
        "metadata": json.dumps({"source": "x", "tools": [{"type": "function", "function": TOOL}]}),
    }


LAYOUTS = {"openhands": openhands(), "swe_agent": swe_agent(), "nemotron": nemotron()}


def agent_trace(reasoning: str | None = None) -> Trace:
    call = ToolCall("bash", {"command": "ls"}, id="c1")
    return Trace(
        (
            Message("system", "You code."),
            Message("user", "Fix it."),
            Message("assistant", tool_calls=(call,), reasoning=reasoning),
            Message("tool", "a.py", tool_call_id="c1", name="bash"),
            Message("assistant", "Done."),
        ),
        (Tool(TOOL),),
    )


@pytest.mark.parametrize("name", LAYOUTS)
def test_agent_rows_are_openai_messages_with_more_keys(name: str) -> None:
    row = LAYOUTS[name]
    assert detect(row).name == "openai"
    assert_same(read_row(row), agent_trace())


@pytest.mark.parametrize("name", LAYOUTS)
def test_reasoning_content_is_kept_apart_where_the_content_is_missing(name: str) -> None:
    row = json.loads(json.dumps(LAYOUTS[name]))
    turns = row.get("messages") or row["trajectory"]
    turns[2] |= {"reasoning_content": "Look first.", "content": None}
    assert_same(read_row(row), agent_trace("Look first."))


def test_apigen_mt_is_sharegpt() -> None:
    assert detect(APIGEN_MT).name == "sharegpt"
    expected = Trace(
        (
            Message("system", "# Shop policy\n- Ask for the name."),
            Message("user", "Please cancel order 12."),
            Message("assistant", "May I have your name?"),
            Message("user", "Noa."),
            Message("assistant", tool_calls=(ToolCall("find_user", {"name": "Noa"}),)),
            Message("tool", '{"id": 7}', name="find_user"),
            Message("assistant", tool_calls=(ToolCall("cancel", {"order": 12}),)),
            Message("tool", "Error: order not found", name="cancel"),
            Message("assistant", "There is no such order."),
        ),
        (Tool({"name": "find_user"}), Tool({"name": "cancel"})),
    )
    assert_same(read_row(APIGEN_MT), expected)


def test_one_result_for_several_calls_is_refused() -> None:
    row = swe_agent()
    row["messages"][3]["tool_call_ids"] = ["c1", "c2"]
    with pytest.raises(RowError, match=r"several_tool_call_ids: messages\[3\]"):
        read_row(row)


def test_the_tools_of_the_row_count_before_those_of_its_metadata() -> None:
    row = {**nemotron(), "tools": [{"name": "other"}]}
    assert [tool.name for tool in read_row(row).tools] == ["other"]
    assert read_row({**nemotron(), "metadata": {"tools": [TOOL]}}).tools == (Tool(TOOL),)
    assert read_row({**nemotron(), "metadata": "about tools"}).tools == ()


def test_tools_in_broken_metadata_are_refused() -> None:
    with pytest.raises(RowError, match="invalid_json: metadata"):
        read_row({**nemotron(), "metadata": '{"tools": ['})
    with pytest.raises(RowError, match=r"tools_not_a_list: metadata\.tools"):
        read_row({**nemotron(), "metadata": '{"tools": 3}'})
