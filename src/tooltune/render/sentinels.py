"""The messages that a template is probed with: every field can be recognised in a render."""

from __future__ import annotations

from tooltune.traces.types import Message, Tool, ToolCall

USER = Message("user", "zqquestion one")
AGAIN = Message("user", "zqquestion two")
SYSTEM = Message("system", "zqsystem")
CALL = ToolCall("zq_first", {"zq_key": "zq value", "zq_number": 7}, id="zqcall001")
OTHER = ToolCall("zq_second", {"zq_key": "zq other"}, id="zqcall002")
RESULT = Message("tool", '{"zq_result": "zq found"}', tool_call_id="zqcall001", name="zq_first")
ANSWER = "zqanswer"
BESIDE = "zqbeside"
THOUGHT = "zqthought"
TOOLS = tuple(
    Tool(
        {
            "name": call.name,
            "description": "zqdescription",
            "parameters": {
                "type": "object",
                "properties": {
                    "zq_key": {"type": "string", "description": "a key"},
                    "zq_number": {"type": "integer", "description": "a number"},
                },
                "required": ["zq_key"],
            },
        }
    )
    for call in (CALL, OTHER)
)
TOOL_DICTS = [tool.to_openai() for tool in TOOLS]
