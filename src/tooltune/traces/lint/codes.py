"""The vocabulary of lint: every code, how bad it is, what it means for training, what to do.

error: what is learnt, or a row's use, is wrong. warning: probably not what was meant. info: worth
knowing. Codes of rows that could not be used at all are those of the ledger.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""Worst first."""


class Code(NamedTuple):
    severity: Severity
    meaning: str
    fix: str


REJECTED = Code("error", "the row cannot be used", "mend the row, or leave it out")
"""Any code of the ledger but these."""

LEFT_OUT: dict[str, Code] = {
    "filtered": Code("info", "the row is left out, as `where` asks", "nothing, if that is meant"),
    "duplicate": Code("info", "the row is left out, as `deduplicate` asks", "nothing"),
}


def code_of(name: str) -> Code:
    """What a code means, be it lint's or the ledger's."""
    return CODES.get(name) or LEFT_OUT.get(name, REJECTED)


_DEFINE = "define the tool in the row's tools, or correct the name"
_MEND_CALL = "correct the call, or the tool's schema if that is what is wrong"
_MEND_SETTING = "correct the answer, or remove the setting from the row"

CODES: dict[str, Code] = {
    # calls and the tools that the row defines
    "undefined_tool": Code("error", "a call names a tool that its row does not define", _DEFINE),
    "calls_without_tools": Code(
        "error", "calls in a row without tools: nothing told the model what it may call", _DEFINE
    ),
    "missing_argument": Code(
        "error", "a call lacks an argument that its schema requires", _MEND_CALL
    ),
    "wrong_argument_type": Code("error", "an argument is not of its schema's type", _MEND_CALL),
    "argument_not_in_enum": Code("error", "an argument is none of its schema's values", _MEND_CALL),
    "forbidden_argument": Code(
        "error", "a call has an argument that its schema forbids", _MEND_CALL
    ),
    "undeclared_argument": Code(
        "warning", "a call has an argument that its schema does not name", _MEND_CALL
    ),
    "argument_against_schema": Code("error", "arguments break a rule of their schema", _MEND_CALL),
    "arguments_encoded_twice": Code(
        "error",
        "an argument is the JSON text of an object or list: the model learns to quote it",
        "write the value itself instead of its JSON text (--fix does)",
    ),
    "placeholder_argument": Code(
        "warning",
        "an argument is a placeholder: the model learns to fill in nothing",
        "write a real value, or remove the row",
    ),
    "duplicate_tool": Code(
        "warning", "a tool is defined twice in a row, both alike", "keep one (--fix does)"
    ),
    "conflicting_tools": Code(
        "error",
        "two tools of a row have one name and different definitions",
        "keep the right one, or rename the other together with its calls",
    ),
    "invalid_schema": Code(
        "warning",
        "a tool's parameters are no valid JSON schema, so calls cannot be checked against them",
        "correct the schema",
    ),
    # calls and their results
    "unanswered_call": Code(
        "warning",
        "the conversation goes on, but a call has no result",
        "add the result, or end the conversation at the call",
    ),
    "results_out_of_order": Code(
        "warning",
        "results stand in another order than their calls: templates that print no ids swap them",
        "bring the results into the order of the calls",
    ),
    "late_result": Code(
        "warning",
        "a result does not directly follow the turn that called for it",
        "move the result behind its call",
    ),
    "unread_result": Code(
        "info",
        "no assistant turn follows a result (judged by place alone): nothing is learnt from it",
        "add the answer; results at the end can go (--fix does)",
    ),
    # the conversation
    "trailing_message": Code(
        "info",
        "the conversation ends before an answer: nothing is learnt from its end",
        "add the answer, or cut the end (--fix does)",
    ),
    "leading_assistant": Code(
        "info",
        "the conversation begins with the assistant: that turn has no prompt and is context only",
        "nothing, if that is what was meant",
    ),
    "empty_turn": Code(
        "error",
        "an assistant turn that says and calls nothing: the model learns to stay silent",
        "remove the turn, or give it the weight 0",
    ),
    "repetitive_text": Code(
        "warning",
        "an assistant turn that says the same over and over: the model learns to loop",
        "remove the row, or give the turn the weight 0",
    ),
    "repeated_role": Code(
        "warning",
        "two messages of one role in a row: the first is followed by no answer",
        "join the two, or add what is missing between them",
    ),
    "late_system": Code(
        "warning",
        "a system message that is not the first: many templates drop or refuse it",
        "move its text to the first message",
    ),
    "control_string": Code(
        "warning",
        "text spells out a control string of a chat template, which may become a real one",
        "rewrite or remove it",
    ),
    "repeated_call": Code(
        "warning",
        "a turn makes one call twice with the same arguments",
        "keep one, unless the tool should really run twice",
    ),
    # request settings
    "tool_choice_broken": Code(
        "warning", "the last turn does what the row's tool_choice rules out", _MEND_SETTING
    ),
    "parallel_calls_broken": Code(
        "warning", "several calls in a turn, but parallel_tool_calls is false", _MEND_SETTING
    ),
    "response_format_broken": Code(
        "warning", "the last turn is not what the row's response_format asks for", _MEND_SETTING
    ),
    # reasoning
    "mixed_reasoning": Code(
        "warning",
        "some turns of a row reason and others do not: the model learns to think at random",
        "complete the reasoning, or give the turns without any the weight 0",
    ),
    "reasoning_in_part_of_set": Code(
        "info",
        "some rows reason and others do not",
        "train the two apart, or tell them apart by the system prompt or template arguments",
    ),
    "empty_thinking_learnt": Code(
        "warning",
        "a turn without reasoning under a template that thinks: an empty think block is learnt",
        "set model.chat_template_kwargs: {enable_thinking: false}",
    ),
    # secrets
    "secret": Code(
        "error",
        "text that looks like an access key or a password: what is trained can be recited",
        "withdraw the key, and replace it (--redact does)",
    ),
    "personal_data": Code(
        "info",
        "an e-mail address or a phone number that is not of those reserved for examples",
        "replace it, unless it is invented",
    ),
    # the whole set
    "duplicate_trace": Code(
        "warning", "a row equals an earlier one: it weighs double", "keep one (--fix does)"
    ),
    "near_duplicate_trace": Code(
        "info", "a row is nearly an earlier one", "keep the better one, or weigh them down"
    ),
    "outlier_length": Code(
        "info",
        "a row is far longer or shorter than the others",
        "look at it: broken rows and pasted files show here first",
    ),
    "tool_imbalance": Code(
        "info",
        "one tool has most of the calls of a set with many tools",
        "add rows that call the others",
    ),
    "tools_never_called": Code(
        "info",
        "tools that no row of the set ever calls: the model is only taught to leave them alone",
        "add rows that call them, if they should be called",
    ),
    "no_calls": Code(
        "warning",
        "no row of the set calls a tool",
        "check the format (--format) if there should be calls",
    ),
    "always_calls": Code(
        "info",
        "every question of the set is answered by a call: nothing teaches when not to call",
        "add questions that no tool is needed for",
    ),
}
