"""A smart home: heating, devices, doors and scenes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.worlds.base import (
    INTEGER,
    STRING,
    STRINGS,
    Json,
    State,
    ToolError,
    World,
    choice,
    find,
    tool,
)
from tooltune.worlds.pools import DOORS, ROOMS, Draw
from tooltune.worlds.requests import Ask, Request, Slip, Slots, listing, step

_KINDS = ("lamp", "heater", "speaker", "fan", "radio")
_SCENES = ("movie", "dinner", "sleep", "party")
_COLDEST, _WARMEST = 10, 26


def _populate(draw: Draw) -> State:
    rooms: Json = {}
    for room in draw.some(lambda: draw.pick(ROOMS), 4):
        kinds = draw.rng.sample(_KINDS, 2)
        devices = {draw.code("dev-###"): {"kind": kind, "power": "off"} for kind in kinds}
        rooms[room] = {"degrees": draw.any(range(16, 24)), "devices": devices, "scene": None}
    doors = {door: draw.any(("lock", "unlock")) for door in draw.some(lambda: draw.pick(DOORS), 3)}
    return {"rooms": rooms, "doors": doors}


def _set_temperature(state: State, args: Json) -> Json:
    room = find(state["rooms"], args["room"], "room")
    if not _COLDEST <= args["degrees"] <= _WARMEST:
        limits = f"Only {_COLDEST} to {_WARMEST} degrees are allowed."
        raise ToolError(limits, lowest=_COLDEST, highest=_WARMEST)
    room["degrees"] = args["degrees"]
    return {"room": args["room"], "degrees": args["degrees"]}


def _list_devices(state: State, args: Json) -> Json:
    room = find(state["rooms"], args["room"], "room")
    rows = [{"device_id": device_id, **device} for device_id, device in room["devices"].items()]
    return {"devices": rows}


def _switch(state: State, args: Json) -> Json:
    devices = {key: d for room in state["rooms"].values() for key, d in room["devices"].items()}
    device = find(devices, args["device_id"], "device")
    device["power"] = args["power"]
    return {"kind": device["kind"], "power": args["power"]}


def _set_lock(state: State, args: Json) -> Json:
    find(state["doors"], args["door"], "door")
    state["doors"][args["door"]] = args["action"]
    return {"door": args["door"], "state": f"{args['action']}ed"}


def _apply_scene(state: State, args: Json) -> Json:
    rooms = [find(state["rooms"], room, "room") for room in args["rooms"]]
    for room in rooms:
        room["scene"] = args["scene"]
    return {"scene": args["scene"], "rooms": len(rooms)}


TOOLS = (
    tool("set_temperature", "Heat or cool a room.", {"room": STRING, "degrees": INTEGER}),
    tool("list_devices", "List the devices in a room.", {"room": STRING}),
    tool(
        "switch_device",
        "Switch a device on or off.",
        {"device_id": STRING, "power": choice("on", "off")},
    ),
    tool(
        "set_lock", "Lock or unlock a door.", {"door": STRING, "action": choice("lock", "unlock")}
    ),
    tool("apply_scene", "Set a scene in rooms.", {"rooms": STRINGS, "scene": choice(*_SCENES)}),
)


def _room(draw: Draw, state: State) -> Slots:
    return {"room": draw.any(list(state["rooms"])), "degrees": draw.any(range(12, 26))}


def _device(draw: Draw, state: State) -> Slots:
    room = draw.any(list(state["rooms"]))
    devices = state["rooms"][room]["devices"]
    device_id = draw.any(list(devices))
    return {
        "room": room,
        "device_id": device_id,
        "kind": devices[device_id]["kind"],
        "power": draw.any(("on", "off")),
    }


def _door(draw: Draw, state: State) -> Slots:
    return {"door": draw.any(list(state["doors"])), "action": draw.any(("lock", "unlock"))}


def _scene(draw: Draw, state: State) -> Slots:
    first, second = draw.rng.sample(list(state["rooms"]), 2)
    return {"first": first, "second": second, "scene": draw.any(_SCENES)}


def _too_warm(draw: Draw, state: State) -> Slots:
    return {**_room(draw, state), "degrees": draw.any(range(27, 36))}


def _unknown_room(draw: Draw, state: State, slots: Slots) -> str:
    return draw.pick(ROOMS)


def _id_by_kind(slots: Slots, results: Any) -> str:
    (device_id,) = [d["device_id"] for d in results[0]["devices"] if d["kind"] == slots["kind"]]
    return str(device_id)


def _devices(result: Mapping[str, Any]) -> str:
    return listing([f"a {d['kind']} ({d['device_id']}, {d['power']})" for d in result["devices"]])


_ROOM_CORRECTIONS = (
    "Sorry, I meant the {x}.",
    "Oh, then the {x}.",
    "I mixed that up. It's the {x}.",
    "My mistake, the {x}, not the {wrong}.",
    "Right, take the {x}.",
)
_ROOM_SLIP = Slip("room", _unknown_room, "Which room do you mean?", _ROOM_CORRECTIONS)

REQUESTS = (
    Request(
        _room,
        (step("set_temperature", "room", "degrees"),),
        clauses=(
            "set the {room} to {degrees} degrees",
            "heat the {room} to {degrees} degrees",
            "bring the temperature in the {room} to {degrees}",
            "make it {degrees} degrees in the {room}",
        ),
        sentences=(
            "I'd like {degrees} degrees in the {room}.",
            "The {room} should be at {degrees} degrees.",
        ),
        pairs=("set the {room1} to {degrees1} and the {room2} to {degrees2} degrees",),
        answers=("The {room} is set to {r[degrees]} degrees.", "Done, {degrees} in the {room}."),
        asks=(
            Ask(
                ("change the temperature in the {room}", "set a new temperature in the {room}"),
                "To how many degrees?",
                ("{degrees} in the {room}, please.", "Set the {room} to {degrees}."),
            ),
        ),
        slips=(_ROOM_SLIP,),
    ),
    Request(
        _room,
        (step("list_devices", "room"),),
        clauses=(
            "list the devices in the {room}",
            "show me which devices are in the {room}",
            "check what devices the {room} has",
            "tell me which devices the {room} has",
        ),
        sentences=("Which devices are in the {room}?", "What devices do I have in the {room}?"),
        pairs=("list the devices in the {room1} and in the {room2}",),
        answers=("The {room} has {summary}.", "In the {room} there is {summary}."),
        summary=_devices,
        slips=(_ROOM_SLIP,),
    ),
    Request(
        _device,
        (step("switch_device", "device_id", "power"),),
        clauses=(
            "switch {device_id} {power}",
            "turn {device_id} {power}",
            "turn {power} device {device_id}",
            "switch {power} {device_id}",
        ),
        sentences=("{device_id} should be {power}.", "I want device {device_id} {power}."),
        pairs=("switch {device_id1} {power1} and {device_id2} {power2}",),
        answers=("{device_id} is {r[power]}.", "The {r[kind]} {device_id} is now {r[power]}."),
        slips=(
            Slip(
                "device_id",
                lambda draw, state, slots: draw.code("dev-###"),
                "Which device do you mean?",
            ),
        ),
    ),
    Request(
        _door,
        (step("set_lock", "door", "action"),),
        clauses=(
            "{action} the {door} door",
            "make sure to {action} the {door} door",
            "{action} the door called {door}",
            "go and {action} the {door} door",
        ),
        sentences=(
            "I want you to {action} the {door} door now.",
            "The {door} door: {action} it, please.",
        ),
        pairs=("{action1} the {door1} door and {action2} the {door2} door",),
        answers=("The {door} door is {r[state]}.", "Done, the {door} door is {r[state]}."),
        asks=(
            Ask(
                ("see to the {door} door", "take care of the {door} door"),
                "Should I lock or unlock it?",
                ("Please {action} the {door} door.", "{action} the {door} door, please."),
            ),
        ),
        slips=(
            Slip(
                "door",
                lambda draw, state, slots: draw.pick(DOORS),
                "Which door do you mean?",
                (
                    "Sorry, the {x} door.",
                    "I meant the {x} door.",
                    "Oh, the {x} one, not the {wrong} one.",
                    "My mistake, it is the {x} door.",
                ),
            ),
        ),
    ),
    Request(
        _scene,
        (
            step(
                "apply_scene",
                rooms=lambda slots, _: [slots["first"], slots["second"]],
                scene=lambda slots, _: slots["scene"],
            ),
        ),
        clauses=(
            "set the {scene} scene in the {first} and the {second}",
            "apply the {scene} scene to the {first} and the {second}",
            "start the {scene} scene in the {first} and the {second}",
            "put the {first} and the {second} into the {scene} scene",
        ),
        sentences=(
            "I want the {scene} scene in the {first} and the {second}.",
            "Time for the {scene} scene in the {first} and the {second}.",
        ),
        answers=("The {scene} scene is on in {r[rooms]} rooms.", "The {scene} scene is set."),
        asks=(
            Ask(
                ("set a scene in the {first} and the {second}",),
                "Which scene: movie, dinner, sleep or party?",
                (
                    "The {scene} scene in the {first} and the {second}.",
                    "For the {first} and the {second}, {scene}.",
                ),
            ),
        ),
    ),
    Request(
        _device,
        (
            step("list_devices", "room"),
            step("switch_device", device_id=_id_by_kind, power=lambda slots, _: slots["power"]),
        ),
        clauses=(
            "switch {power} the {kind} in the {room}",
            "turn the {kind} in the {room} {power}",
            "turn {power} the {room} {kind}",
            "find the {kind} in the {room} and switch it {power}",
        ),
        sentences=(
            "The {kind} in the {room} should be {power}.",
            "I want the {kind} in the {room} {power}.",
        ),
        answers=("The {kind} in the {room} is {r[power]}.", "Done, the {kind} is {r[power]}."),
    ),
    Request(
        _too_warm,
        (
            step("set_temperature", "room", "degrees"),
            step("set_temperature", "room", degrees=lambda _, results: results[0]["highest"]),
        ),
        clauses=(
            "heat the {room} to {degrees} degrees or as warm as allowed",
            "set the {room} to {degrees}, or the highest possible",
            "set the {room} to {degrees} degrees; if that's too much, the maximum",
            "make the {room} {degrees} degrees warm, or as warm as it goes",
        ),
        sentences=(
            "I want {degrees} degrees in the {room}. If that's too high, use the maximum.",
            "It's freezing! {degrees} degrees in the {room}, or the most you can do.",
        ),
        answers=("{degrees} is too high; the {room} is set to {r[degrees]} degrees.",),
        recovers=True,
    ),
)

HOME = World(
    name="home",
    topic="a smart home",
    tools=TOOLS,
    functions={
        "set_temperature": _set_temperature,
        "list_devices": _list_devices,
        "switch_device": _switch,
        "set_lock": _set_lock,
        "apply_scene": _apply_scene,
    },
    populate=_populate,
    requests=REQUESTS,
)
