"""Seeded traces from the worlds: every call was executed, every argument can be read off.

`train` and `held_out` come from the training worlds with different people, places, ids and dates;
`unseen_tools` comes from a world whose tools no training trace has.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import get_args

from tooltune.traces.frozen import thaw
from tooltune.traces.types import Message, Tool, Trace
from tooltune.worlds import HELD_OUT_WORLDS, TRAINING_WORLDS
from tooltune.worlds.base import Json, World
from tooltune.worlds.pools import Draw, Side
from tooltune.worlds.scenarios import Kind, lead_request, play
from tooltune.worlds.stage import Stage, execute

# Of every 25 traces in a row, so many are of each kind.
PROPORTIONS: dict[Kind, int] = {
    "one_call": 15,
    "chained": 2,
    "parallel": 2,
    "clarify": 2,
    "error": 2,
    "no_call": 2,
}
_SYSTEM_PROMPTS = (
    "You are a helpful assistant for {topic}.",
    "You help people with {topic}. Be brief.",
    "You are an assistant with access to {topic}.",
    "Use the tools when they help. Be brief and friendly.",
)
_MENU_SIZES = (2, 2, 2, 3, 3, 4, 5)
_AGENT_TOOLS = 2
_ATTEMPTS = 2000


@dataclass(frozen=True, slots=True)
class Episode:
    """A trace and what is needed to execute its calls again: the world and its state's seed."""

    trace: Trace
    kind: Kind
    world: World
    side: Side
    state_seed: str


@dataclass(frozen=True, slots=True)
class _Setting:
    """What an agent starts with: its system prompt, its tools, and worlds that it cannot reach."""

    system: str | None
    menu: tuple[Tool, ...]
    strangers: tuple[World, ...]


_Settings = tuple[_Setting, ...]


def generate_traces(
    n: int,
    *,
    seed: int,
    split: Side,
    agents: bool = False,
    worlds: Collection[str] | None = None,
) -> list[Trace]:
    """`n` different traces of one side; the first m of them are `generate_traces(m, ...)`.

    No user text and no call (name with arguments) of one side occurs on another, for any seeds.
    Kinds of conversation come in the known `PROPORTIONS`. Tools and system prompt vary from trace
    to trace; with `agents` each world has a few agents, each with one system prompt and one list
    of tools, as the logs of deployed agents have (their renders then share that prefix). `worlds`
    names the worlds to use; None: all of that side.

    Raises: ValueError for a split or a world that does not exist.
    """
    episodes = generate_episodes(n, seed=seed, split=split, agents=agents, worlds=worlds)
    return [episode.trace for episode in episodes]


def generate_episodes(
    n: int,
    *,
    seed: int,
    split: Side,
    agents: bool = False,
    worlds: Collection[str] | None = None,
) -> Iterator[Episode]:
    """As `generate_traces`, with what `replay` needs."""
    if split not in get_args(Side):
        raise ValueError(f"no split {split!r}; there are {', '.join(get_args(Side))}")
    side = HELD_OUT_WORLDS if split == "unseen_tools" else TRAINING_WORLDS
    chosen = [world for world in side if worlds is None or world.name in worlds]
    if not chosen or (worlds is not None and len(chosen) < len(worlds)):
        names = ", ".join(world.name for world in side)
        raise ValueError(f"the worlds of {split} are {names}, not {worlds}")
    settings = {world.name: _agents(world) for world in chosen} if agents else {}
    return _episodes(n, f"{seed}/{split}", split, chosen, settings)


def generate_long_schema_traces(n: int, *, seed: int, schema_chars: int = 6000) -> list[Trace]:
    """`n` different traces that share one system prompt and one long tool list, for benchmarks.

    The tool list, as the JSON that templates print, has at least `schema_chars` characters: tools
    of as many training worlds as it takes, then longer descriptions. About four characters are a
    token.
    """
    worlds, menu = _long_menu(schema_chars)
    setting = _Setting("You are a helpful assistant.", menu, HELD_OUT_WORLDS)
    key = f"{seed}/long/{schema_chars}"
    settings = {world.name: (setting,) for world in worlds}
    return [episode.trace for episode in _episodes(n, key, "train", worlds, settings)]


def replay(episode: Episode) -> list[str]:
    """Execute the calls of `episode` on a fresh world; returns the results' JSON texts in order."""
    state = episode.world.new(Random(episode.state_seed), episode.side)
    return [
        _result_text(execute(episode.world, state, call))
        for message in episode.trace.messages
        for call in message.tool_calls
    ]


def write_jsonl(traces: Iterable[Trace], path: str | Path) -> None:
    """Write canonical OpenAI rows, one JSON object a line, UTF-8."""
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for trace in traces:
            file.write(json.dumps(trace.to_openai(), ensure_ascii=False) + "\n")


def _episodes(
    n: int, key: str, side: Side, worlds: Sequence[World], settings: Mapping[str, _Settings]
) -> Iterator[Episode]:
    """`settings` by world name; a world without any gets a new setting for each trace."""
    seen: set[str] = set()
    for index in range(n):
        kind = _kind(key, index)
        for attempt in range(_ATTEMPTS):
            try:
                trial = f"{key}/{index}/{attempt}"
                world = worlds[index % len(worlds)]
                episode = _attempt(trial, kind, side, world, settings.get(world.name, ()))
            except (ValueError, LookupError):  # the draws did not work out: see `play`
                continue
            if episode.trace.id not in seen:
                break
        else:
            raise RuntimeError(f"no new {kind} trace after {_ATTEMPTS} attempts ({key}/{index})")
        seen.add(episode.trace.id)
        yield episode


def _kind(key: str, index: int) -> Kind:
    """The kind of trace `index`: each block of 25 is shuffled on its own."""
    kinds = [kind for kind, count in PROPORTIONS.items() for _ in range(count)]
    block, place = divmod(index, len(kinds))
    Random(f"{key}/block {block}").shuffle(kinds)
    return kinds[place]


def _attempt(key: str, kind: Kind, side: Side, world: World, fixed: _Settings) -> Episode:
    rng = Random(key)
    state_seed = f"{key}/state"
    populating = Draw(Random(state_seed), side)
    state = world.populate(populating)
    lead = lead_request(kind, world.requests, rng)
    needed = lead.tools if lead else frozenset()
    setting = _fitting(rng, fixed, needed) if fixed else _draw_setting(rng, world, needed)
    stage = Stage(world, state, Draw(rng, side, populating.drawn), setting.menu)
    if setting.system is not None:
        stage.messages.append(Message("system", setting.system))
    play(kind, stage, lead, setting.strangers)
    return Episode(Trace(tuple(stage.messages), setting.menu), kind, world, side, state_seed)


def _draw_setting(rng: Random, world: World, needed: frozenset[str]) -> _Setting:
    """A system prompt or none; two to five tools of `world`, at times one of another world too.

    The tools come in the world's order or shuffled, and `needed` ones are among them.
    """
    size = rng.choice(_MENU_SIZES)
    menu = [tool for tool in world.tools if tool.name in needed]
    rest = [tool for tool in world.tools if tool.name not in needed]
    menu += rng.sample(rest, min(len(rest), max(0, size - len(menu))))
    menu.sort(key=world.tools.index)
    others = [other for other in TRAINING_WORLDS if other is not world]
    if rng.random() < 0.2:
        guest = others.pop(rng.randrange(len(others)))
        menu.append(rng.choice(guest.tools))
    if rng.random() < 0.5:
        rng.shuffle(menu)
    system = rng.choice((None, None, *_SYSTEM_PROMPTS))
    prompt = None if system is None else system.format(topic=world.topic)
    return _Setting(prompt, tuple(menu), tuple(others))


def _fitting(rng: Random, settings: _Settings, needed: frozenset[str]) -> _Setting:
    """One of the settings whose tools can do what is needed; `LookupError` where none can."""
    return rng.choice([s for s in settings if needed <= {tool.name for tool in s.menu}])


def _agents(world: World) -> _Settings:
    """Few agents that together can do whatever is asked of `world`, each with one or two tools.

    The tools that one request needs go to the first agent that stays small enough with them.
    """
    order = [tool.name for tool in world.tools]
    needs = sorted({r.tools for r in world.requests}, key=lambda s: (-len(s), sorted(s)))
    menus: list[set[str]] = []
    for need in needs:
        menu = next((m for m in menus if len(m | need) <= _AGENT_TOOLS), None)
        if menu is None:
            menus.append(set(need))
        else:
            menu |= need
    others = tuple(other for other in TRAINING_WORLDS if other is not world)
    system = _SYSTEM_PROMPTS[0].format(topic=world.topic)
    return tuple(
        _Setting(system, tuple(world.tool(name) for name in sorted(menu, key=order.index)), others)
        for menu in menus
    )


_DOCUMENTATION = (
    " Returns a JSON object with the result of the operation.",
    " If it is not possible, the object has the key error with a message that says why.",
    " Give all required arguments; leave out optional ones that the user did not mention.",
    " Ids and names must be given exactly as the user or an earlier result wrote them.",
)


def _long_menu(schema_chars: int) -> tuple[tuple[World, ...], tuple[Tool, ...]]:
    """Whole worlds until the tool list is long enough, then longer and longer descriptions."""
    menu: list[Json] = []
    used: list[World] = []
    for world in TRAINING_WORLDS:
        if _schema_length(menu) < schema_chars or len(used) < 2:
            used.append(world)
            menu += [thaw(tool.function) for tool in world.tools]
    turn = 0
    while _schema_length(menu) < schema_chars:
        sentence = _DOCUMENTATION[turn // len(menu) % len(_DOCUMENTATION)]
        menu[turn % len(menu)]["description"] += sentence
        turn += 1
    return tuple(used), tuple(Tool(function) for function in menu)


def _schema_length(functions: Sequence[Json]) -> int:
    return sum(len(json.dumps({"type": "function", "function": f})) for f in functions)


def _result_text(result: Json) -> str:
    return json.dumps(result, ensure_ascii=False)
