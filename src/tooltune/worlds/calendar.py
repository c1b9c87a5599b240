"""A personal calendar: events that may not overlap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.worlds.base import (
    DATE,
    INTEGER,
    STRING,
    TIME,
    Json,
    State,
    ToolError,
    World,
    check_date,
    check_time,
    find,
    tool,
)
from tooltune.worlds.pools import Draw, clock, minutes_of
from tooltune.worlds.requests import Ask, Request, Slip, Slots, listing, step

_OPENS, _CLOSES = minutes_of("08:00"), minutes_of("20:00")
_LENGTHS = (15, 20, 25, 30, 40, 45, 50, 60, 75, 90)


def _populate(draw: Draw) -> State:
    """Days that are taken from the morning on, at times with a second event later."""
    events: Json = {}
    for day in draw.some(draw.date, 3):
        early = (clock(_OPENS), draw.any(range(30, 150, 5)))
        late = (draw.time(), draw.any((30, 45, 60)))
        titles = draw.some(draw.title, 2)
        for title, (start, minutes) in zip(titles, (early, late), strict=True):
            if _clash(events, day, minutes_of(start), minutes) is None:
                event = {"title": title, "date": day, "start": start, "minutes": minutes}
                events[draw.code("ev###")] = event
    return {"events": events}


def _clash(events: Json, date: str, start: int, minutes: int, but: str = "") -> str | None:
    """Id of an event other than `but` that overlaps, if there is one."""
    for event_id, event in events.items():
        begin = minutes_of(event["start"])
        overlaps = start < begin + event["minutes"] and begin < start + minutes
        if event["date"] == date and overlaps and event_id != but:
            return str(event_id)
    return None


def _next_free(events: Json, date: str, start: int, minutes: int) -> str | None:
    while (clash := _clash(events, date, start, minutes)) is not None:
        start = minutes_of(events[clash]["start"]) + events[clash]["minutes"]
    return clock(start) if start + minutes <= _CLOSES else None


def _require_free(events: Json, date: str, start: str, minutes: int, but: str = "") -> None:
    check_date(date)
    begin = check_time(start)
    if minutes < 1:
        raise ToolError("minutes must be at least 1.")
    if (clash := _clash(events, date, begin, minutes, but)) is not None:
        title = events[clash]["title"]
        free = _next_free(events, date, begin, minutes)
        raise ToolError(f'{start} is taken by "{title}".', next_free=free)


def _create(state: State, args: Json) -> Json:
    events, minutes = state["events"], args.get("minutes", 60)
    _require_free(events, args["date"], args["start"], minutes)
    numbers = [int(event_id[2:]) for event_id in events]
    event_id = f"ev{max(numbers, default=1000) + 1}"
    event = {key: args[key] for key in ("title", "date", "start")}
    events[event_id] = {**event, "minutes": minutes}
    return {"event_id": event_id, "minutes": minutes}


def _list(state: State, args: Json) -> Json:
    check_date(args["date"])
    items = [(event["start"], key) for key, event in state["events"].items()
             if event["date"] == args["date"]]  # fmt: skip
    rows = [{"event_id": key, "title": state["events"][key]["title"], "start": start}
            for start, key in sorted(items)]  # fmt: skip
    return {"events": rows}


def _move(state: State, args: Json) -> Json:
    event = find(state["events"], args["event_id"], "event")
    _require_free(
        state["events"], args["date"], args["start"], event["minutes"], but=args["event_id"]
    )
    event.update(date=args["date"], start=args["start"])
    return {"title": event["title"], "date": event["date"], "start": event["start"]}


def _cancel(state: State, args: Json) -> Json:
    event = find(state["events"], args["event_id"], "event")
    del state["events"][args["event_id"]]
    return {"cancelled": event["title"]}


def _free_slot(state: State, args: Json) -> Json:
    check_date(args["date"])
    free = _next_free(state["events"], args["date"], _OPENS, args["minutes"])
    if free is None:
        raise ToolError(f"No free slot on {args['date']}.")
    return {"start": free}


TOOLS = (
    tool(
        "create_event",
        "Add an event to the calendar.",
        {"title": STRING, "date": DATE, "start": TIME},
        {"minutes": INTEGER},
    ),
    tool("list_events", "List the events of a day.", {"date": DATE}),
    tool("move_event", "Move an event.", {"event_id": STRING, "date": DATE, "start": TIME}),
    tool("cancel_event", "Cancel an event.", {"event_id": STRING}),
    tool("find_free_slot", "Find free time on a day.", {"date": DATE, "minutes": INTEGER}),
)


def _new_event(draw: Draw, state: State) -> Slots:
    return {
        "title": draw.title(),
        "date": draw.date(),
        "start": draw.time(),
        "minutes": draw.any(_LENGTHS),
    }


def _known_event(draw: Draw, state: State) -> Slots:
    event_id = draw.any(list(state["events"]))
    event = state["events"][event_id]
    new = {"new_date": draw.date(), "new_start": draw.time()}
    return {"event_id": event_id, "title": event["title"], "date": event["date"], **new}


def _moved_event(draw: Draw, state: State) -> Slots:
    event_id = draw.any(list(state["events"]))
    return {"event_id": event_id, "date": draw.date(), "start": draw.time()}


def _busy_day(draw: Draw, state: State) -> Slots:
    return {"date": draw.any([event["date"] for event in state["events"].values()])}


def _new_event_on_busy_day(draw: Draw, state: State) -> Slots:
    return _new_event(draw, state) | _busy_day(draw, state)


def _taken_time(draw: Draw, state: State) -> Slots:
    event = draw.any(list(state["events"].values()))
    return {"title": draw.title(), "date": event["date"], "start": event["start"]}


def _unknown_event(draw: Draw, state: State, slots: Slots) -> str:
    return draw.code("ev###")


def _events(result: Mapping[str, Any]) -> str:
    parts = [f'"{event["title"]}" at {event["start"]}' for event in result["events"]]
    return listing(parts) or "nothing planned"


def _id_by_title(slots: Slots, results: Any) -> str:
    matches = [e["event_id"] for e in results[0]["events"] if e["title"] == slots["title"]]
    (event_id,) = matches
    return str(event_id)


_EVENT_SLIP = Slip("event_id", _unknown_event, "Which event do you mean?")

REQUESTS = (
    Request(
        _new_event,
        (step("create_event", "title", "date", "start"),),
        clauses=(
            'add "{title}" to my calendar on {date} at {start}',
            'schedule "{title}" for {date} at {start}',
            'put "{title}" on {date}, starting {start}',
            'create an event called "{title}" on {date} at {start}',
            'book "{title}" in my calendar, {date} at {start}',
            'block {start} on {date} for "{title}"',
        ),
        sentences=(
            'I have "{title}" on {date} at {start}. Please note it.',
            'New event: "{title}", {date}, {start}.',
        ),
        answers=(
            '"{title}" is on your calendar for {date} at {start}.',
            'I added "{title}" on {date} at {start}; its id is {r[event_id]}.',
        ),
        asks=(
            Ask(
                ('add "{title}" to my calendar on {date}', 'schedule "{title}" for {date}'),
                "What time should it start?",
                ("At {start}.", "{start}, please.", "It starts at {start}.", "Let's say {start}."),
            ),
            Ask(
                ('add "{title}" to my calendar at {start}', 'schedule "{title}" at {start}'),
                "On which date?",
                ("On {date}.", "{date}, please.", "It is on {date}.", "Make it {date}."),
            ),
        ),
    ),
    Request(
        _new_event,
        (step("create_event", "title", "date", "start", "minutes"),),
        clauses=(
            'schedule "{title}" on {date} at {start} for {minutes} minutes',
            'add a {minutes}-minute event "{title}" on {date} at {start}',
            'put "{title}" on {date} at {start}, {minutes} minutes long',
            'create "{title}" on {date} from {start}, lasting {minutes} minutes',
        ),
        sentences=(
            '"{title}" takes {minutes} minutes on {date} at {start}. Please add it.',
            'New event: "{title}", {date}, {start}, {minutes} minutes.',
        ),
        answers=('I added "{title}" on {date} at {start} for {minutes} minutes.',),
    ),
    Request(
        _busy_day,
        (step("list_events", "date"),),
        clauses=(
            "show me my events on {date}",
            "list my events for {date}",
            "tell me what is planned for {date}",
            "check my calendar for {date}",
            "look up my schedule on {date}",
        ),
        sentences=("What do I have on {date}?", "Which events are on my calendar for {date}?"),
        pairs=(
            "list my events on {date1} and on {date2}",
            "check what I have on {date1} and {date2}",
        ),
        answers=("On {date}: {summary}.", "For {date} I see {summary}."),
        summary=_events,
    ),
    Request(
        _moved_event,
        (step("move_event", "event_id", "date", "start"),),
        clauses=(
            "move event {event_id} to {date} at {start}",
            "reschedule {event_id} to {date}, {start}",
            "shift {event_id} to {start} on {date}",
            "change event {event_id} to {date} at {start}",
            "push event {event_id} to {date} at {start}",
        ),
        sentences=("Event {event_id} should be on {date} at {start} instead.",),
        answers=('"{r[title]}" is now on {date} at {start}.', "Done, {event_id} moved to {date}."),
        asks=(
            Ask(
                ("move event {event_id} to {date}", "reschedule {event_id} to {date}"),
                "At what time?",
                ("At {start}.", "{start}, please.", "{start} would be good."),
            ),
            Ask(
                ("move event {event_id}", "reschedule event {event_id}"),
                "To which date and time?",
                ("{date} at {start}.", "To {date}, {start}.", "Make it {start} on {date}."),
            ),
        ),
        slips=(_EVENT_SLIP,),
    ),
    Request(
        _known_event,
        (step("cancel_event", "event_id"),),
        clauses=(
            "cancel event {event_id}",
            "delete {event_id} from my calendar",
            "remove event {event_id}",
            "call off event {event_id}",
            "take {event_id} off my calendar",
        ),
        sentences=("I can't make {event_id}, cancel it.", "Event {event_id} is off. Delete it."),
        pairs=("cancel events {event_id1} and {event_id2}", "remove {event_id1} and {event_id2}"),
        answers=('"{r[cancelled]}" is cancelled.', 'I cancelled {event_id}, "{r[cancelled]}".'),
        slips=(_EVENT_SLIP,),
    ),
    Request(
        _new_event_on_busy_day,
        (step("find_free_slot", "date", "minutes"),),
        clauses=(
            "find {minutes} free minutes on {date}",
            "look for a free slot of {minutes} minutes on {date}",
            "find me a {minutes}-minute gap on {date}",
            "check when I have {minutes} minutes free on {date}",
        ),
        sentences=(
            "When do I have {minutes} minutes free on {date}?",
            "Where can I fit {minutes} minutes on {date}?",
        ),
        answers=("You are free at {r[start]} on {date}.", "There is a gap at {r[start]}."),
        asks=(
            Ask(
                ("find me a free slot on {date}", "look for some free time on {date}"),
                "How many minutes do you need?",
                ("{minutes} minutes on {date}.", "I need {minutes} minutes on {date}."),
            ),
        ),
    ),
    Request(
        _known_event,
        (step("list_events", "date"), step("cancel_event", event_id=_id_by_title)),
        clauses=(
            'cancel "{title}" on {date}',
            'delete the event "{title}" on {date}',
            'find "{title}" on {date} and cancel it',
            'take "{title}" on {date} off my calendar',
        ),
        sentences=(
            'I can\'t go to "{title}" on {date}. Cancel it, please.',
            '"{title}" on {date} is off. Please remove it.',
        ),
        answers=('I cancelled "{title}" on {date}.', '"{title}" is off your calendar.'),
    ),
    Request(
        _known_event,
        (
            step("list_events", "date"),
            step(
                "move_event",
                event_id=_id_by_title,
                date=lambda slots, _: slots["new_date"],
                start=lambda slots, _: slots["new_start"],
            ),
        ),
        clauses=(
            'move "{title}" from {date} to {new_date} at {new_start}',
            'reschedule "{title}" on {date} to {new_date}, {new_start}',
            'find "{title}" on {date} and move it to {new_date} at {new_start}',
            'shift "{title}" from {date} to {new_start} on {new_date}',
        ),
        sentences=(
            'I have "{title}" on {date}. Move it to {new_date} at {new_start}.',
            '"{title}" on {date} should be on {new_date} at {new_start} instead.',
        ),
        answers=('"{title}" is now on {new_date} at {new_start}.',),
    ),
    Request(
        _new_event_on_busy_day,
        (
            step("find_free_slot", "date", "minutes"),
            step(
                "create_event",
                "title",
                "date",
                start=lambda _, results: results[0]["start"],
                minutes=lambda slots, _: slots["minutes"],
            ),
        ),
        clauses=(
            'find a free slot on {date} and put "{title}" there for {minutes} minutes',
            'schedule "{title}" for {minutes} minutes in the first free slot on {date}',
            'fit "{title}" in where I am free on {date}, {minutes} minutes',
            'add "{title}" on {date} wherever I have {minutes} minutes free',
        ),
        sentences=(
            'I need {minutes} minutes for "{title}" on {date}. Use the first free slot.',
            'When am I free on {date}? Book {minutes} minutes for "{title}" then.',
        ),
        answers=('"{title}" is booked for {minutes} minutes on {date}.',),
    ),
    Request(
        _taken_time,
        (
            step("create_event", "title", "date", "start"),
            step("create_event", "title", "date", start=lambda _, results: results[0]["next_free"]),
        ),
        clauses=(
            'add "{title}" on {date} at {start}, or at the next free time',
            'schedule "{title}" on {date} at {start} or, if that is taken, the next free time',
            'book "{title}" for {date}, {start}, else the next free time',
            'put "{title}" on {date} at {start} or as soon after as possible',
        ),
        sentences=(
            'I\'d like "{title}" on {date} at {start}. If that is taken, use the next free time.',
            '"{title}", {date}, {start}, please; if it clashes, the next free time.',
        ),
        answers=("{start} was taken, so I used the next free time on {date}.",),
        recovers=True,
    ),
)

CALENDAR = World(
    name="calendar",
    topic="a personal calendar",
    tools=TOOLS,
    functions={
        "create_event": _create,
        "list_events": _list,
        "move_event": _move,
        "cancel_event": _cancel,
        "find_free_slot": _free_slot,
    },
    populate=_populate,
    requests=REQUESTS,
)
