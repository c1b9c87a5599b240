"""Traces are reproducible, executed, readable from the conversation, and apart from other sides."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tooltune.traces.frozen import thaw
from tooltune.traces.types import Message, ToolCall
from tooltune.worlds import HELD_OUT_WORLDS, TRAINING_WORLDS, generate
from tooltune.worlds.generate import (
    PROPORTIONS,
    Episode,
    generate_episodes,
    generate_long_schema_traces,
    generate_traces,
    replay,
    write_jsonl,
)
from tooltune.worlds.pools import Side

SIDES: tuple[Side, ...] = ("train", "held_out", "unseen_tools")
SEEDS = (0, 1, 17)


@pytest.fixture(scope="module")
def episodes() -> dict[Side, list[Episode]]:
    """250 episodes a side from three seeds."""
    made: dict[Side, list[Episode]] = {}
    for side in SIDES:
        made[side] = [e for seed in SEEDS for e in generate_episodes(250, seed=seed, split=side)]
    return made


def everything(episodes: dict[Side, list[Episode]]) -> list[Episode]:
    return [episode for side in SIDES for episode in episodes[side]]


def calls_with_context(episode: Episode) -> Iterator[tuple[str, ToolCall]]:
    """Each call with the text of users and tools before it."""
    before: list[str] = []
    for message in episode.trace.messages:
        for call in message.tool_calls:
            yield "\n".join(before), call
        if message.role in ("user", "tool"):
            before.append(message.content or "")


def values(arguments: Any) -> Iterator[Any]:
    if isinstance(arguments, dict):
        for value in arguments.values():
            yield from values(value)
    elif isinstance(arguments, list):
        for value in arguments:
            yield from values(value)
    else:
        yield arguments


ENUMS = {
    option
    for world in (*TRAINING_WORLDS, *HELD_OUT_WORLDS)
    for tool in world.tools
    for schema in tool.parameters["properties"].values()
    for option in schema.get("enum", ())
}


def says(text: str, value: Any) -> bool:
    """Whether `text` has `value` verbatim, as words of its own; options may start a sentence."""
    flags = re.IGNORECASE if value in ENUMS else 0
    return re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", text, flags) is not None


@pytest.mark.parametrize("side", SIDES)
def test_the_same_seed_gives_the_same_traces_and_more_of_them_start_alike(side: Side) -> None:
    once, again = (generate_traces(40, seed=3, split=side) for _ in range(2))
    assert once == again
    assert [trace.id for trace in once] == [trace.id for trace in again]
    assert generate_traces(15, seed=3, split=side) == once[:15]
    assert generate_traces(40, seed=4, split=side) != once


def test_traces_of_one_call_are_all_different(episodes: dict[Side, list[Episode]]) -> None:
    for side in SIDES:
        ids = [episode.trace.id for episode in episodes[side][:250]]
        assert len(set(ids)) == 250
        assert all(episode.trace.group == episode.trace.id for episode in episodes[side])


def test_kinds_come_in_their_known_proportions(episodes: dict[Side, list[Episode]]) -> None:
    for side in SIDES:
        kinds = Counter(episode.kind for episode in episodes[side][:250])
        assert kinds == {kind: count * 10 for kind, count in PROPORTIONS.items()}


def test_every_result_is_what_a_fresh_world_returns_again(
    episodes: dict[Side, list[Episode]],
) -> None:
    for episode in everything(episodes):
        recorded = [m.content for m in episode.trace.messages if m.role == "tool"]
        assert replay(episode) == recorded


def test_no_user_text_call_or_trace_occurs_on_two_sides(
    episodes: dict[Side, list[Episode]],
) -> None:
    seen: dict[Side, set[str]] = {side: set() for side in SIDES}
    for side in SIDES:
        for episode in episodes[side]:
            for message in episode.trace.messages:
                if message.role == "user":
                    seen[side].add(" ".join((message.content or "").lower().split()))
                for call in message.tool_calls:
                    seen[side].add(json.dumps([call.name, call.arguments], sort_keys=True))
    for one, other in (SIDES[:2], SIDES[1:], (SIDES[0], SIDES[2])):
        assert not seen[one] & seen[other]


def test_unseen_tools_are_called_in_no_other_split(episodes: dict[Side, list[Episode]]) -> None:
    called = {
        side: {call.name for e in episodes[side] for _, call in calls_with_context(e)}
        for side in SIDES
    }
    training = {tool.name for world in TRAINING_WORLDS for tool in world.tools}
    assert called["train"] == called["held_out"] == training
    assert called["unseen_tools"] == {t.name for world in HELD_OUT_WORLDS for t in world.tools}
    offered = {tool.name for e in episodes["train"] for tool in e.trace.tools}
    assert not offered & called["unseen_tools"]


def test_every_argument_can_be_read_from_the_conversation_before_the_call(
    episodes: dict[Side, list[Episode]],
) -> None:
    for episode in everything(episodes):
        for before, call in calls_with_context(episode):
            for value in values(call.arguments):
                if isinstance(value, bool):
                    assert says(before.lower(), "only"), call
                else:
                    assert says(before, value), (call, before)


def test_every_call_is_of_an_offered_tool_and_valid_under_its_schema_in_its_order(
    episodes: dict[Side, list[Episode]],
) -> None:
    validators = {
        tool.name: jsonschema.Draft202012Validator(thaw(tool.parameters))
        for world in (*TRAINING_WORLDS, *HELD_OUT_WORLDS)
        for tool in world.tools
    }
    for episode in everything(episodes):
        offered = {tool.name for tool in episode.trace.tools}
        assert len(offered) == len(episode.trace.tools) >= 2
        for _, call in calls_with_context(episode):
            assert call.name in offered
            assert validators[call.name].is_valid(thaw(call.arguments)), call
            order = list(episode.world.tool(call.name).parameters["properties"])
            assert list(call.arguments) == sorted(call.arguments, key=order.index)


def test_a_clarified_call_needs_what_the_user_said_last(
    episodes: dict[Side, list[Episode]],
) -> None:
    for episode in everything(episodes):
        if episode.kind != "clarify":
            continue
        users = [m.content or "" for m in episode.trace.messages if m.role == "user"]
        _, call = next(calls_with_context(episode))
        missing = [v for v in values(call.arguments) if not says(users[0], v)]
        assert missing
        assert all(says(users[1], value) for value in missing)


def shape(messages: tuple[Message, ...]) -> str:
    """u user, t tool, a assistant text, digits the number of calls in an assistant turn."""
    letters = {"user": "u", "tool": "t", "assistant": "a", "system": ""}
    return "".join(str(len(m.tool_calls)) if m.tool_calls else letters[m.role] for m in messages)


SHAPES = {
    "one_call": r"u1ta",
    "chained": r"u1t1ta",
    "parallel": r"u(2tt|3ttt)a",
    "clarify": r"uau1ta",
    "error": r"u1t(a?u)?1ta",
    "no_call": r"ua",
}


def test_each_kind_has_its_shape_and_at_most_one_follow_up(
    episodes: dict[Side, list[Episode]],
) -> None:
    for episode in everything(episodes):
        pattern = rf"{SHAPES[episode.kind]}(u1ta|u1t1ta)?"
        assert re.fullmatch(pattern, shape(episode.trace.messages)), episode


def test_first_call_of_an_error_trace_failed_and_no_other_did(
    episodes: dict[Side, list[Episode]],
) -> None:
    for episode in everything(episodes):
        results = [json.loads(m.content or "") for m in episode.trace.messages if m.role == "tool"]
        failed = [index for index, result in enumerate(results) if "error" in result]
        assert failed == ([0] if episode.kind == "error" else [])


def test_a_chained_call_takes_from_a_result_what_was_not_known_before(
    episodes: dict[Side, list[Episode]],
) -> None:
    for episode in everything(episodes):
        if episode.kind != "chained":
            continue
        texts = [m.content or "" for m in episode.trace.messages if m.role == "user"]
        _, second = list(calls_with_context(episode))[:2]
        assert any(not says(texts[0], value) for value in values(second[1].arguments))


def test_nothing_is_looked_up_that_an_earlier_part_of_the_conversation_told(
    episodes: dict[Side, list[Episode]],
) -> None:
    for episode in everything(episodes):
        messages = episode.trace.messages
        calls = [
            json.dumps(call.to_openai()["function"]) for _, call in calls_with_context(episode)
        ]
        assert len(set(calls)) == len(calls)
        if not re.search(r"au1t1ta$", shape(messages)):
            continue
        start = max(i for i, message in enumerate(messages) if message.role == "user")
        told = "\n".join(message.content or "" for message in messages[:start])
        for value in values(messages[start + 3].tool_calls[0].arguments):
            assert says(messages[start].content or "", value) or not says(told, value)


def test_results_answer_their_calls_by_id_in_order(episodes: dict[Side, list[Episode]]) -> None:
    for episode in everything(episodes):
        made = [(c.id, c.name) for m in episode.trace.messages for c in m.tool_calls]
        answered = [(m.tool_call_id, m.name) for m in episode.trace.messages if m.role == "tool"]
        assert made == answered
        assert len(set(made)) == len(made)


def test_traces_are_short_enough_to_train_on_a_cpu(episodes: dict[Side, list[Episode]]) -> None:
    lengths = [len(json.dumps(e.trace.to_openai())) for e in episodes["train"]]
    assert sum(lengths) / len(lengths) < 2600


def test_long_schema_traces_share_system_prompt_and_a_long_tool_list() -> None:
    for chars in (3000, 9000):
        traces = generate_long_schema_traces(16, seed=2, schema_chars=chars)
        assert len({trace.id for trace in traces}) == 16
        assert len({(trace.messages[0], trace.tools) for trace in traces}) == 1
        length = sum(len(json.dumps(tool.to_openai())) for tool in traces[0].tools)
        assert chars <= length < chars * 1.5
        assert traces == generate_long_schema_traces(16, seed=2, schema_chars=chars)


def test_written_rows_read_back_as_the_same_conversations(tmp_path: Path) -> None:
    traces = generate_traces(30, seed=5, split="held_out")
    write_jsonl(traces, tmp_path / "traces.jsonl")
    raw = (tmp_path / "traces.jsonl").read_bytes()
    rows = [json.loads(line) for line in raw.decode("utf-8").removesuffix("\n").split("\n")]
    assert rows == [trace.to_openai() for trace in traces]
    assert b"\\u" not in raw


def test_draws_that_never_work_out_end_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> Episode:
        raise ValueError("no luck")

    monkeypatch.setattr(generate, "_attempt", refuse)
    with pytest.raises(RuntimeError, match="no new"):
        generate_traces(1, seed=0, split="train")


def test_a_trace_that_was_drawn_before_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    real = generate._attempt

    def same_for_every_index(key: str, *rest: Any) -> Episode:
        attempt = key.rsplit("/", 1)[1]
        return real(attempt, "one_call", "train", TRAINING_WORLDS[0], None)

    monkeypatch.setattr(generate, "_attempt", same_for_every_index)
    assert len({trace.id for trace in generate_traces(20, seed=0, split="train")}) == 20


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="held_out"):
        generate_traces(1, seed=0, split="test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="calendar"):
        generate_traces(1, seed=0, split="train", worlds=["shop", "moon"])


def test_chosen_worlds_give_all_traces() -> None:
    episodes = generate_episodes(12, seed=0, split="train", worlds=["shop", "home"])
    assert {episode.world.name for episode in episodes} == {"shop", "home"}


@pytest.mark.parametrize("side", ["train", "held_out", "unseen_tools"])
def test_agents_have_few_fixed_tool_lists_and_every_kind_of_trace(side: Side) -> None:
    episodes = list(generate_episodes(50, seed=0, split=side, agents=True))
    menus = {episode.trace.tools for episode in episodes}
    worlds = {episode.world.name for episode in episodes}
    assert len(menus) <= 4 * len(worlds)
    assert all(1 <= len(menu) <= 2 for menu in menus)
    assert {episode.kind for episode in episodes} == set(PROPORTIONS)
    for episode in episodes:
        results = [m.content for m in episode.trace.messages if m.role == "tool"]
        assert replay(episode) == results
