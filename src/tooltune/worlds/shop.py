"""A shop's order desk: search, change, cancel and refund orders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.worlds.base import (
    NUMBER,
    STRING,
    Json,
    State,
    ToolError,
    World,
    choice,
    find,
    tool,
)
from tooltune.worlds.pools import Draw
from tooltune.worlds.requests import Ask, Request, Slip, Slots, listing, step

_STATUSES = ("open", "shipped", "delivered")
_REASONS = ("damaged", "late", "unwanted")
_ADDRESS: Json = {
    "type": "object",
    "properties": {"street": STRING, "city": STRING},
    "required": ["street", "city"],
}


def _populate(draw: Draw) -> State:
    orders: Json = {}
    items = iter(draw.some(draw.item, 8))
    for customer in draw.some(draw.person, 4):
        for _ in range(draw.any((1, 2))):
            orders[draw.code("A###")] = {
                "customer": customer,
                "item": next(items),
                "total": draw.amount(),
                "status": draw.any(_STATUSES),
            }
    return {"orders": orders}


def _search(state: State, args: Json) -> Json:
    found = [
        {"order_id": order_id, "item": order["item"], "status": order["status"]}
        for order_id, order in state["orders"].items()
        if order["customer"] == args["customer"]
        and args.get("status", order["status"]) == order["status"]
    ]
    if not found:
        raise ToolError(f"No orders found for {args['customer']}.")
    return {"orders": found}


def _get(state: State, args: Json) -> Json:
    return dict(find(state["orders"], args["order_id"], "order"))


def _cancel(state: State, args: Json) -> Json:
    order = find(state["orders"], args["order_id"], "order")
    if order["status"] != "open":
        raise ToolError(f"Order {args['order_id']} is already {order['status']}.")
    order["status"] = "cancelled"
    return {"status": "cancelled", "item": order["item"]}


def _update_address(state: State, args: Json) -> Json:
    order = find(state["orders"], args["order_id"], "order")
    if order["status"] != "open":
        raise ToolError(f"Order {args['order_id']} is already {order['status']}.")
    order["address"] = args["address"]
    return {"status": "updated"}


def _refund(state: State, args: Json) -> Json:
    order = find(state["orders"], args["order_id"], "order")
    amount = args.get("amount", order["total"])
    if order["status"] in ("cancelled", "refunded"):
        raise ToolError(f"Order {args['order_id']} is already {order['status']}.")
    if not 0 < amount <= order["total"]:
        raise ToolError(f"The order total is {order['total']}.", total=order["total"])
    order.update(status="refunded", reason=args["reason"])
    return {"refunded": amount}


TOOLS = (
    tool(
        "search_orders",
        "Find a customer's orders.",
        {"customer": STRING},
        {"status": choice(*_STATUSES)},
    ),
    tool("get_order", "Show an order.", {"order_id": STRING}),
    tool("cancel_order", "Cancel an open order.", {"order_id": STRING}),
    tool(
        "update_address",
        "Change the address of an open order.",
        {"order_id": STRING, "address": _ADDRESS},
    ),
    tool(
        "refund_order",
        "Refund an order, in full unless an amount is given.",
        {"order_id": STRING, "reason": choice(*_REASONS)},
        {"amount": NUMBER},
    ),
)


def _order(draw: Draw, state: State, *statuses: str) -> Slots:
    fits = [key for key, o in state["orders"].items() if o["status"] in (statuses or _STATUSES)]
    order_id = draw.any(fits)
    return {
        **state["orders"][order_id],
        "order_id": order_id,
        "reason": draw.any(_REASONS),
        "street": draw.street(),
        "city": draw.city(),
    }


def _any_order(draw: Draw, state: State) -> Slots:
    return _order(draw, state)


def _open_order(draw: Draw, state: State) -> Slots:
    return _order(draw, state, "open")


def _sent_order(draw: Draw, state: State) -> Slots:
    return _order(draw, state, "shipped", "delivered")


def _partial_refund(draw: Draw, state: State) -> Slots:
    slots = _order(draw, state)
    return {**slots, "amount": draw.amount(5, max(7, int(slots["total"])))}


def _unknown_order(draw: Draw, state: State, slots: Slots) -> str:
    return draw.code("A###")


def _address(slots: Slots, _: Any) -> Json:
    return {"street": slots["street"], "city": slots["city"]}


def _id_by_item(slots: Slots, results: Any) -> str:
    (order_id,) = [o["order_id"] for o in results[0]["orders"] if o["item"] == slots["item"]]
    return str(order_id)


def _orders(result: Mapping[str, Any]) -> str:
    return listing([f"{o['order_id']} ({o['item']}, {o['status']})" for o in result["orders"]])


_ORDER_SLIP = Slip("order_id", _unknown_order, "Which order do you mean?")

REQUESTS = (
    Request(
        _any_order,
        (step("search_orders", "customer"),),
        clauses=(
            "find the orders of {customer}",
            "search for {customer}'s orders",
            "list all orders by {customer}",
            "look up what {customer} ordered",
            "show me the orders of {customer}",
        ),
        sentences=("Which orders does {customer} have?", "What has {customer} ordered?"),
        pairs=("find the orders of {customer1} and of {customer2}",),
        answers=("{customer} has {summary}.", "I found {summary}."),
        summary=_orders,
        slips=(
            Slip(
                "customer",
                lambda draw, state, slots: draw.person(),
                "Could you check the customer's name?",
            ),
        ),
    ),
    Request(
        _any_order,
        (step("search_orders", "customer", "status"),),
        clauses=(
            "find the {status} orders of {customer}",
            "search for {status} orders by {customer}",
            "list {customer}'s {status} orders",
            "show me {customer}'s orders that are {status}",
        ),
        sentences=(
            "Which {status} orders does {customer} have?",
            "Any {status} orders of {customer}?",
        ),
        answers=("{customer} has {summary}.", "I found {summary}."),
        summary=_orders,
    ),
    Request(
        _any_order,
        (step("get_order", "order_id"),),
        clauses=(
            "show me order {order_id}",
            "look up order {order_id}",
            "check order {order_id}",
            "get the details of order {order_id}",
            "tell me the status of {order_id}",
        ),
        sentences=("What is in order {order_id}?", "Where is order {order_id} now?"),
        pairs=("check orders {order_id1} and {order_id2}", "look up {order_id1} and {order_id2}"),
        answers=(
            "Order {order_id} is a {r[item]} for {r[total]}; it is {r[status]}.",
            "{order_id} ({r[item]}) is {r[status]}.",
        ),
        slips=(_ORDER_SLIP,),
    ),
    Request(
        _open_order,
        (step("cancel_order", "order_id"),),
        clauses=(
            "cancel order {order_id}",
            "stop order {order_id}",
            "call off my order {order_id}",
            "cancel my purchase {order_id}",
        ),
        sentences=(
            "I don't want order {order_id} any more. Cancel it.",
            "Order {order_id} was a mistake, please cancel it.",
        ),
        pairs=("cancel orders {order_id1} and {order_id2}",),
        answers=("Order {order_id} is cancelled.", "I cancelled the {r[item]}, order {order_id}."),
        slips=(_ORDER_SLIP,),
    ),
    Request(
        _open_order,
        (step("update_address", "order_id", address=_address),),
        clauses=(
            "send order {order_id} to {street}, {city}",
            "change the address of {order_id} to {street}, {city}",
            "update order {order_id}: deliver to {street} in {city}",
            "ship order {order_id} to {street} in {city} instead",
        ),
        sentences=(
            "I moved to {street}, {city}. Update order {order_id}.",
            "Order {order_id} should go to {street} in {city}.",
        ),
        answers=("Order {order_id} now goes to {street}, {city}.", "The address is updated."),
        asks=(
            Ask(
                ("change the address of order {order_id}", "send order {order_id} somewhere else"),
                "What is the new street and city?",
                ("{street}, {city}.", "It is {street} in {city}.", "To {street}, {city}, please."),
            ),
            Ask(
                ("send my order to {street}, {city}", "change my address to {street}, {city}"),
                "For which order?",
                ("Order {order_id}.", "It is {order_id}.", "For {order_id}, please."),
            ),
        ),
        slips=(_ORDER_SLIP,),
    ),
    Request(
        _any_order,
        (step("refund_order", "order_id", "reason"),),
        clauses=(
            "refund order {order_id}, it was {reason}",
            "refund {order_id} because it was {reason}",
            "give me my money back for the {reason} order {order_id}",
            "refund the {reason} order {order_id}",
        ),
        sentences=(
            "Order {order_id} was {reason}. I want a refund.",
            "I'd like a refund for {order_id}. Reason: {reason}.",
        ),
        answers=("I refunded {r[refunded]} for order {order_id}.", "Done: {r[refunded]} refunded."),
        asks=(
            Ask(
                ("refund order {order_id}", "give me a refund for {order_id}"),
                "Was it damaged, late or unwanted?",
                ("Order {order_id} was {reason}.", "{order_id} is {reason}."),
            ),
        ),
        slips=(_ORDER_SLIP,),
    ),
    Request(
        _partial_refund,
        (step("refund_order", "order_id", "reason", "amount"),),
        clauses=(
            "refund {amount} of order {order_id}, it was {reason}",
            "give back {amount} for order {order_id} because it was {reason}",
            "refund only {amount} for the {reason} order {order_id}",
            "pay back {amount} of {order_id}; it was {reason}",
        ),
        sentences=(
            "Order {order_id} was {reason}. I'd like {amount} back.",
            "{order_id} was {reason}; please refund {amount}.",
        ),
        answers=("I refunded {r[refunded]} for order {order_id}.",),
    ),
    Request(
        _open_order,
        (step("search_orders", "customer"), step("cancel_order", order_id=_id_by_item)),
        clauses=(
            "cancel {customer}'s order of the {item}",
            "cancel the {item} that {customer} ordered",
            "find the {item} ordered by {customer} and cancel it",
            "look up {customer}'s {item} and cancel that order",
        ),
        sentences=(
            "This is {customer}. Please cancel my {item}.",
            "I'm {customer} and I no longer want the {item}. Cancel it.",
        ),
        answers=(
            "The order of the {item} is cancelled.",
            "Done, {customer}'s {item} is cancelled.",
        ),
    ),
    Request(
        _any_order,
        (
            step("search_orders", "customer"),
            step("refund_order", order_id=_id_by_item, reason=lambda slots, _: slots["reason"]),
        ),
        clauses=(
            "refund {customer}'s {item}, it was {reason}",
            "refund the {reason} {item} that {customer} ordered",
            "find the {item} of {customer} and refund it as {reason}",
            "look up {customer}'s {item} and refund it; it was {reason}",
        ),
        sentences=(
            "This is {customer}. My {item} was {reason}, I want a refund.",
            "I'm {customer}. Please refund the {item}; it was {reason}.",
        ),
        answers=("I refunded {r[refunded]} for the {item}.",),
    ),
    Request(
        _sent_order,
        (step("cancel_order", "order_id"), step("refund_order", "order_id", "reason")),
        clauses=(
            "cancel order {order_id} or, if that is too late, refund it as {reason}",
            "cancel {order_id}; if you can't, refund it as {reason}",
            "try to cancel order {order_id}, otherwise refund it as {reason}",
            "cancel order {order_id}, and failing that refund it as {reason}",
        ),
        sentences=(
            "Cancel {order_id}, please. If it was sent already, refund it as {reason}.",
            "I want to cancel {order_id}. Too late? Then refund it as {reason}.",
        ),
        answers=("It was too late to cancel {order_id}, so I refunded {r[refunded]}.",),
        recovers=True,
    ),
)

SHOP = World(
    name="shop",
    topic="a shop's orders",
    tools=TOOLS,
    functions={
        "search_orders": _search,
        "get_order": _get,
        "cancel_order": _cancel,
        "update_address": _update_address,
        "refund_order": _refund,
    },
    populate=_populate,
    requests=REQUESTS,
)
