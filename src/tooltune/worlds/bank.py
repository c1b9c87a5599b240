"""A bank: accounts that cannot be overdrawn, payees and cards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.worlds.base import INTEGER, NUMBER, STRING, Json, State, ToolError, World, find, tool
from tooltune.worlds.pools import Draw
from tooltune.worlds.requests import Ask, Request, Slip, Slots, listing, step

_COUNTS = (2, 3, 4, 5, 6, 8, 10)


def _populate(draw: Draw) -> State:
    accounts: Json = {
        draw.code("acc-###"): {"balance": draw.amount(300, 3000), "payments": []} for _ in range(4)
    }
    people = draw.some(draw.person, 4)
    for account in accounts.values():
        account["payments"] = [
            {"to": person, "amount": draw.amount()} for person in draw.rng.sample(people, 3)
        ]
    payees = {person: draw.code("acc-###") for person in people}
    cards = {draw.code("card-###"): {"limit": draw.any((500, 1000, 2000))} for _ in range(3)}
    return {"accounts": accounts, "payees": payees, "cards": cards}


def _balance(state: State, args: Json) -> Json:
    return {"balance": find(state["accounts"], args["account"], "account")["balance"]}


def _payments(state: State, args: Json) -> Json:
    account = find(state["accounts"], args["account"], "account")
    if args["count"] < 1:
        raise ToolError("count must be at least 1.")
    return {"payments": account["payments"][-args["count"] :]}


def _find_payee(state: State, args: Json) -> Json:
    return {"account": find(state["payees"], args["name"], "payee")}


def _transfer(state: State, args: Json) -> Json:
    source = find(state["accounts"], args["from_account"], "account")
    known = set(state["accounts"]) | set(state["payees"].values())
    if args["to_account"] not in known:
        raise ToolError(f"There is no account {args['to_account']}.")
    if args["amount"] <= 0:
        raise ToolError("amount must be positive.")
    if args["amount"] > source["balance"]:
        raise ToolError("Insufficient funds.", available=source["balance"])
    source["balance"] -= args["amount"]
    source["payments"].append({"to": args["to_account"], "amount": args["amount"]})
    if args["to_account"] in state["accounts"]:
        state["accounts"][args["to_account"]]["balance"] += args["amount"]
    return {"status": "sent", "balance": source["balance"]}


def _set_limit(state: State, args: Json) -> Json:
    card = find(state["cards"], args["card_id"], "card")
    if not 0 <= args["limit"] <= 5000:
        raise ToolError("The limit must be between 0 and 5000.", highest=5000)
    old, card["limit"] = card["limit"], args["limit"]
    return {"old_limit": old, "new_limit": card["limit"]}


TOOLS = (
    tool("get_balance", "Show the balance of an account.", {"account": STRING}),
    tool("list_payments", "List the latest payments.", {"account": STRING, "count": INTEGER}),
    tool("find_payee", "Find a payee's account by full name.", {"name": STRING}),
    tool(
        "transfer_money",
        "Send money to another account.",
        {"from_account": STRING, "to_account": STRING, "amount": NUMBER},
    ),
    tool(
        "set_card_limit", "Set the monthly limit of a card.", {"card_id": STRING, "limit": INTEGER}
    ),
)


def _account(draw: Draw, state: State) -> Slots:
    return {"account": draw.any(list(state["accounts"])), "count": draw.any(_COUNTS)}


def _payee(draw: Draw, state: State) -> Slots:
    return {"name": draw.any(list(state["payees"]))}


def _transfer_slots(draw: Draw, state: State) -> Slots:
    source, target = draw.rng.sample(list(state["accounts"]), 2)
    amount = draw.amount(10, max(12, int(state["accounts"][source]["balance"])))
    return {"from_account": source, "to_account": target, "amount": amount, **_payee(draw, state)}


def _too_much(draw: Draw, state: State) -> Slots:
    slots = _transfer_slots(draw, state)
    balance = int(state["accounts"][slots["from_account"]]["balance"])
    return {**slots, "amount": draw.amount(balance + 1, balance + 900)}


def _card(draw: Draw, state: State) -> Slots:
    return {"card_id": draw.any(list(state["cards"])), "limit": draw.any(range(200, 4900, 50))}


def _excessive_limit(draw: Draw, state: State) -> Slots:
    return {**_card(draw, state), "limit": draw.any(range(5100, 9900, 100))}


def _unknown_account(draw: Draw, state: State, slots: Slots) -> str:
    return draw.code("acc-###")


def _payee_account(slots: Slots, results: Any) -> str:
    return str(results[0]["account"])


def _payments_text(result: Mapping[str, Any]) -> str:
    return listing([f"{p['amount']} to {p['to']}" for p in result["payments"]])


_ACCOUNT_SLIP = Slip("account", _unknown_account, "Could you check the account number?")

REQUESTS = (
    Request(
        _account,
        (step("get_balance", "account"),),
        clauses=(
            "show me the balance of account {account}",
            "check the balance of {account}",
            "look up how much is in account {account}",
            "tell me how much money I have on {account}",
        ),
        sentences=("How much is in account {account}?", "What is the balance of {account}?"),
        pairs=("check the balances of {account1} and {account2}",),
        answers=(
            "The balance of {account} is {r[balance]}.",
            "There is {r[balance]} in {account}.",
        ),
        slips=(_ACCOUNT_SLIP,),
    ),
    Request(
        _account,
        (step("list_payments", "account", "count"),),
        clauses=(
            "show me the last {count} payments from account {account}",
            "list the latest {count} payments of {account}",
            "look up the {count} most recent payments from {account}",
            "get the last {count} payments made from {account}",
        ),
        sentences=(
            "What were the last {count} payments from {account}?",
            "I need the {count} latest payments of account {account}.",
        ),
        answers=("The latest payments from {account}: {summary}.", "I see {summary}."),
        summary=_payments_text,
        asks=(
            Ask(
                ("show me the latest payments of {account}", "list payments from {account}"),
                "How many payments should I show?",
                ("The last {count} of {account}.", "{count} payments of {account}, please."),
            ),
        ),
        slips=(_ACCOUNT_SLIP,),
    ),
    Request(
        _payee,
        (step("find_payee", "name"),),
        clauses=(
            "find the account of {name}",
            "look up {name}'s account number",
            "get me the account of {name}",
            "search for the payee {name}",
        ),
        sentences=("What is {name}'s account number?", "Which account does {name} have?"),
        pairs=("find the accounts of {name1} and {name2}",),
        answers=("{name}'s account is {r[account]}.", "The account of {name} is {r[account]}."),
        slips=(
            Slip("name", lambda draw, state, slots: draw.person(), "Could you check the name?"),
        ),
    ),
    Request(
        _transfer_slots,
        (step("transfer_money", "from_account", "to_account", "amount"),),
        clauses=(
            "transfer {amount} from {from_account} to {to_account}",
            "send {amount} from account {from_account} to account {to_account}",
            "move {amount} from {from_account} to {to_account}",
            "pay {amount} to {to_account} from {from_account}",
        ),
        sentences=(
            "I want to send {amount} from {from_account} to {to_account}.",
            "{to_account} should get {amount} from my account {from_account}.",
        ),
        answers=(
            "I sent {amount} to {to_account}. Your balance is {r[balance]}.",
            "Done, {r[balance]} is left on {from_account}.",
        ),
        asks=(
            Ask(
                ("transfer money from {from_account} to {to_account}",),
                "How much should I transfer?",
                ("{amount}.", "{amount}, please.", "Send {amount}.", "It's {amount}."),
            ),
            Ask(
                ("transfer {amount} to account {to_account}", "send {amount} to {to_account}"),
                "From which account?",
                ("From {from_account}.", "Take it from {from_account}.", "{from_account}."),
            ),
        ),
        slips=(Slip("to_account", _unknown_account, "Which account should get the money?"),),
    ),
    Request(
        _card,
        (step("set_card_limit", "card_id", "limit"),),
        clauses=(
            "set the limit of {card_id} to {limit}",
            "change the limit of {card_id} to {limit} a month",
            "give {card_id} a monthly limit of {limit}",
            "limit {card_id} to {limit}",
        ),
        sentences=(
            "{card_id} needs a limit of {limit}.",
            "I'd like to spend at most {limit} a month with {card_id}.",
        ),
        answers=("The limit of {card_id} is now {r[new_limit]}.",),
        asks=(
            Ask(
                ("change the limit of {card_id}", "set a new limit for {card_id}"),
                "What should the new limit be?",
                ("Set {card_id} to {limit}.", "{limit} for {card_id}, please."),
            ),
        ),
        slips=(
            Slip(
                "card_id",
                lambda draw, state, slots: draw.code("card-###"),
                "Which card do you mean?",
            ),
        ),
    ),
    Request(
        _transfer_slots,
        (
            step("find_payee", "name"),
            step(
                "transfer_money",
                "from_account",
                to_account=_payee_account,
                amount=lambda slots, _: slots["amount"],
            ),
        ),
        clauses=(
            "send {amount} from {from_account} to {name}",
            "pay {name} {amount} from account {from_account}",
            "find {name}'s account and send {amount} there from {from_account}",
            "transfer {amount} to {name}, taken from {from_account}",
        ),
        sentences=(
            "I owe {name} {amount}. Please pay it from {from_account}.",
            "{name} should get {amount} from my account {from_account}.",
        ),
        answers=("I sent {amount} to {name}.", "{name} gets {amount}; {r[balance]} is left."),
    ),
    Request(
        _too_much,
        (
            step("transfer_money", "from_account", "to_account", "amount"),
            step(
                "transfer_money",
                "from_account",
                "to_account",
                amount=lambda _, results: results[0]["available"],
            ),
        ),
        clauses=(
            "send {amount} from {from_account} to {to_account}, or all there is if it is less",
            "transfer {amount} from {from_account} to {to_account}, or whatever is available",
            "move {amount} from {from_account} to {to_account}; if short, everything available",
            "pay {amount} from {from_account} to {to_account} or as much as there is",
        ),
        sentences=(
            "{to_account} gets {amount} from {from_account}. Not enough? Then send all there is.",
            "Send {amount} from {from_account} to {to_account}. If that fails, send all there is.",
        ),
        answers=("There was not enough money, so I sent all that was available.",),
        recovers=True,
    ),
    Request(
        _excessive_limit,
        (
            step("set_card_limit", "card_id", "limit"),
            step("set_card_limit", "card_id", limit=lambda _, results: results[0]["highest"]),
        ),
        clauses=(
            "set the limit of {card_id} to {limit} or the highest allowed",
            "raise the limit of {card_id} to {limit}, or as far as allowed",
            "change the limit of {card_id} to {limit}; if that's too much, the maximum",
            "give {card_id} a limit of {limit}, else the highest possible",
        ),
        sentences=(
            "I want a limit of {limit} on {card_id}. If not allowed, take the highest.",
            "{card_id} needs a limit of {limit}, or the maximum if that is too high.",
        ),
        answers=("{limit} is not allowed, so the limit of {card_id} is now {r[new_limit]}.",),
        recovers=True,
    ),
)

BANK = World(
    name="bank",
    topic="a bank",
    tools=TOOLS,
    functions={
        "get_balance": _balance,
        "list_payments": _payments,
        "find_payee": _find_payee,
        "transfer_money": _transfer,
        "set_card_limit": _set_limit,
    },
    populate=_populate,
    requests=REQUESTS,
)
