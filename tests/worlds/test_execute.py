"""The tools really execute: they change state, refuse what is impossible, check arguments."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

import jsonschema
import pytest

from tooltune.traces.frozen import thaw
from tooltune.worlds import HELD_OUT_WORLDS, TRAINING_WORLDS, WORLDS, ToolError, World

ALL = pytest.mark.parametrize("world", WORLDS.values(), ids=list(WORLDS))


def fresh(name: str) -> tuple[World, dict[str, Any]]:
    return WORLDS[name], WORLDS[name].new(Random(12))


def test_there_are_training_worlds_and_a_held_out_one_with_tools_of_its_own() -> None:
    assert len(TRAINING_WORLDS) >= 3
    assert HELD_OUT_WORLDS
    names = [tool.name for world in WORLDS.values() for tool in world.tools]
    assert len(set(names)) == len(names)


@ALL
def test_every_tool_has_a_function_a_valid_schema_and_a_required_argument(world: World) -> None:
    assert 4 <= len(world.tools) <= 6
    assert {tool.name for tool in world.tools} == set(world.functions)
    for tool in world.tools:
        schema = thaw(tool.parameters)
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["required"]
        assert set(schema["required"]) <= set(schema["properties"])


@ALL
def test_the_same_seed_gives_the_same_state_and_another_seed_another(world: World) -> None:
    assert world.new(Random(1)) == world.new(Random(1))
    assert world.new(Random(1)) != world.new(Random(2))
    assert world.new(Random(1)) != world.new(Random(1), "held_out")


@ALL
def test_missing_unknown_and_wrongly_typed_arguments_are_refused(world: World) -> None:
    state = world.new(Random(0))
    for tool in world.tools:
        required = list(tool.parameters["required"])
        with pytest.raises(ToolError, match="required property"):
            world.execute(state, tool.name, {})
        with pytest.raises(ToolError, match=rf"^({'|'.join(required)}): None"):
            world.execute(state, tool.name, dict.fromkeys(required))
        with pytest.raises(ToolError):
            world.execute(state, tool.name, {**dict.fromkeys(required, "x"), "surplus": 1})
    assert state == world.new(Random(0))


@ALL
def test_an_unknown_tool_is_refused(world: World) -> None:
    with pytest.raises(ToolError, match="no tool 'fly'"):
        world.execute(world.new(Random(0)), "fly", {})


def test_a_surplus_argument_is_refused_even_where_all_others_are_right() -> None:
    world, state = fresh("bank")
    account = next(iter(state["accounts"]))
    with pytest.raises(ToolError, match="surplus"):
        world.execute(state, "get_balance", {"account": account, "surplus": 1})


def test_an_event_is_created_listed_moved_and_cancelled() -> None:
    world, state = fresh("calendar")
    slot = {"date": "May 30", "start": "10:00"}
    made = world.execute(state, "create_event", {"title": "Chess", **slot})
    assert made["minutes"] == 60
    event = {"event_id": made["event_id"], "title": "Chess", "start": "10:00"}
    assert world.execute(state, "list_events", {"date": "May 30"}) == {"events": [event]}
    with pytest.raises(ToolError, match="taken by") as error:
        world.execute(state, "create_event", {"title": "Tea", **slot, "minutes": 15})
    assert error.value.to_json()["next_free"] == "11:00"
    moved = {"event_id": made["event_id"], "date": "May 30", "start": "10:30"}
    world.execute(state, "move_event", moved)
    free = world.execute(state, "find_free_slot", {"date": "May 30", "minutes": 180})
    assert free == {"start": "11:30"}
    world.execute(state, "cancel_event", {"event_id": made["event_id"]})
    assert world.execute(state, "list_events", {"date": "May 30"}) == {"events": []}


@pytest.mark.parametrize(
    ("date", "start"), [("14.03.2025", "10:00"), ("May 31", "10:00"), ("May 14", "10am")]
)
def test_dates_and_times_in_other_formats_are_refused(date: str, start: str) -> None:
    world, state = fresh("calendar")
    with pytest.raises(ToolError, match="is no"):
        world.execute(state, "create_event", {"title": "Chess", "date": date, "start": start})


def test_a_cancelled_order_cannot_be_cancelled_or_refunded_again() -> None:
    world, state = fresh("shop")
    order_id = next(key for key, order in state["orders"].items() if order["status"] == "open")
    world.execute(state, "cancel_order", {"order_id": order_id})
    assert world.execute(state, "get_order", {"order_id": order_id})["status"] == "cancelled"
    before = copy.deepcopy(state)
    with pytest.raises(ToolError, match="already cancelled"):
        world.execute(state, "cancel_order", {"order_id": order_id})
    with pytest.raises(ToolError, match="already cancelled"):
        world.execute(state, "refund_order", {"order_id": order_id, "reason": "late"})
    assert state == before


def test_a_nested_address_is_checked_and_kept() -> None:
    world, state = fresh("shop")
    order_id = next(key for key, order in state["orders"].items() if order["status"] == "open")
    with pytest.raises(ToolError, match=r"address: .*required"):
        world.execute(state, "update_address", {"order_id": order_id, "address": {"city": "Oslo"}})
    address = {"street": "1 Elm Road", "city": "Oslo"}
    world.execute(state, "update_address", {"order_id": order_id, "address": address})
    assert world.execute(state, "get_order", {"order_id": order_id})["address"] == address


def test_money_moves_between_accounts_and_none_can_be_overdrawn() -> None:
    world, state = fresh("bank")
    source, target = list(state["accounts"])[:2]
    balances = [state["accounts"][key]["balance"] for key in (source, target)]
    transfer = {"from_account": source, "to_account": target, "amount": 100}
    world.execute(state, "transfer_money", transfer)
    moved = [world.execute(state, "get_balance", {"account": key}) for key in (source, target)]
    assert [row["balance"] for row in moved] == [balances[0] - 100, balances[1] + 100]
    with pytest.raises(ToolError, match="Insufficient") as error:
        world.execute(state, "transfer_money", {**transfer, "amount": 10**6})
    assert error.value.to_json()["available"] == balances[0] - 100


def test_devices_doors_and_scenes_of_a_home_change() -> None:
    world, state = fresh("home")
    room = next(iter(state["rooms"]))
    device = world.execute(state, "list_devices", {"room": room})["devices"][0]["device_id"]
    world.execute(state, "switch_device", {"device_id": device, "power": "on"})
    assert world.execute(state, "list_devices", {"room": room})["devices"][0]["power"] == "on"
    world.execute(state, "apply_scene", {"rooms": [room], "scene": "sleep"})
    assert state["rooms"][room]["scene"] == "sleep"
    with pytest.raises(ToolError, match="no room moon"):
        world.execute(state, "apply_scene", {"rooms": [room, "moon"], "scene": "party"})
    assert state["rooms"][room]["scene"] == "sleep"
    with pytest.raises(ToolError, match="degrees are allowed"):
        world.execute(state, "set_temperature", {"room": room, "degrees": 40})


def test_seats_of_a_flight_run_out() -> None:
    world, state = fresh("travel")
    flight = next(key for key, row in state["flights"].items() if row["seats"] > 0)
    seats = state["flights"][flight]["seats"]
    world.execute(state, "book_flight", {"flight": flight, "passengers": ["A B"] * seats})
    with pytest.raises(ToolError, match="is full"):
        world.execute(state, "book_flight", {"flight": flight, "passengers": ["A B"]})


def test_moved_mail_is_no_longer_found() -> None:
    world, state = fresh("inbox")
    sender = next(iter(state["mails"].values()))["sender"]
    found = world.execute(state, "search_mail", {"sender": sender})["mails"]
    ids = [mail["mail_id"] for mail in found]
    world.execute(state, "move_mail", {"mail_ids": ids, "folder": "spam"})
    with pytest.raises(ToolError, match="no such mails"):
        world.execute(state, "search_mail", {"sender": sender})


def test_a_lent_book_can_be_held_but_not_lent_again() -> None:
    world, state = fresh("library")
    member = next(iter(state["members"]))
    book = next(key for key, book in state["books"].items() if book["loan"] is None)
    request = {"member_id": member, "book_id": book}
    with pytest.raises(ToolError, match="borrow it"):
        world.execute(state, "place_hold", request)
    loan = world.execute(state, "borrow_book", request)["loan_id"]
    with pytest.raises(ToolError, match="on loan"):
        world.execute(state, "borrow_book", request)
    assert world.execute(state, "place_hold", request) == {"position": 1}
    assert world.execute(state, "renew_loan", {"loan_id": loan, "weeks": 2})["weeks_left"] == 5
