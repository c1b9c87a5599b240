"""Travel: flights with seats, weather and currencies."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

from tooltune.worlds.base import (
    DATE,
    NUMBER,
    STRING,
    STRINGS,
    Json,
    State,
    ToolError,
    World,
    check_date,
    choice,
    find,
    tool,
)
from tooltune.worlds.pools import Draw
from tooltune.worlds.requests import Ask, Request, Slip, Slots, listing, step

_RATES = {"EUR": 1.0, "USD": 1.1, "GBP": 0.85, "CHF": 0.95, "JPY": 160.0}
_SKIES = ("sunny", "cloudy", "rainy", "windy", "foggy")
_FULL = 0


def _populate(draw: Draw) -> State:
    cities = draw.some(draw.city, 6)
    flights: Json = {}
    for _ in range(4):
        origin, destination = draw.rng.sample(cities, 2)
        route = {"origin": origin, "destination": destination, "date": draw.date()}
        for departs in sorted(draw.some(draw.time, 2)):
            flights[draw.code(draw.any(("TK", "LX", "QF")) + "###")] = {
                **route,
                "departs": departs,
                "price": draw.any(range(60, 600, 5)),
                "seats": draw.any((_FULL, 4, 5, 6)),
            }
    return {"cities": cities, "flights": flights, "climate": draw.rng.randrange(10**6)}


def _city(state: State, name: str) -> None:
    if name not in state["cities"]:
        raise ToolError(f"The city {name} is not served.")


def _search(state: State, args: Json) -> Json:
    _city(state, args["origin"])
    _city(state, args["destination"])
    check_date(args["date"])
    found = [
        {"flight": flight, "departs": row["departs"], "price": row["price"]}
        for flight, row in state["flights"].items()
        if all(row[key] == args[key] for key in ("origin", "destination", "date"))
    ]
    return {"flights": found}


def _book(state: State, args: Json) -> Json:
    flight = find(state["flights"], args["flight"], "flight")
    count = len(args["passengers"])
    if flight["seats"] < count:
        route = ("origin", "destination", "date")
        other = [key for key, row in state["flights"].items()
                 if row["seats"] >= count and all(row[k] == flight[k] for k in route)]  # fmt: skip
        raise ToolError(f"Flight {args['flight']} is full.", alternative=next(iter(other), None))
    flight["seats"] -= count
    return {"booked": count, "total": count * flight["price"]}


def _weather(state: State, args: Json) -> Json:
    _city(state, args["city"])
    check_date(args["date"])
    rng = Random(f"{state['climate']} {args['city']} {args['date']}")
    return {"sky": rng.choice(_SKIES), "degrees": rng.randrange(2, 33)}


def _convert(state: State, args: Json) -> Json:
    source, target = args["source"], args["target"]
    if args["amount"] <= 0:
        raise ToolError("amount must be positive.")
    return {"result": round(args["amount"] / _RATES[source] * _RATES[target], 2)}


TOOLS = (
    tool(
        "search_flights",
        "Search flights of a day.",
        {"origin": STRING, "destination": STRING, "date": DATE},
    ),
    tool("book_flight", "Book a flight.", {"flight": STRING, "passengers": STRINGS}),
    tool("get_weather", "Get the forecast for a city.", {"city": STRING, "date": DATE}),
    tool(
        "convert_currency",
        "Convert an amount of money.",
        {"amount": NUMBER, "source": choice(*_RATES), "target": choice(*_RATES)},
    ),
)


def _flight(draw: Draw, state: State, full: bool = False) -> Slots:
    fits = [key for key, row in state["flights"].items() if (row["seats"] == _FULL) is full]
    flight = draw.any(fits)
    first, second = draw.some(draw.person, 2)
    return {**state["flights"][flight], "flight": flight, "first": first, "second": second}


def _open_flight(draw: Draw, state: State) -> Slots:
    return _flight(draw, state)


def _full_flight(draw: Draw, state: State) -> Slots:
    return _flight(draw, state, full=True)


def _place(draw: Draw, state: State) -> Slots:
    return {"city": draw.any(state["cities"]), "date": draw.date()}


def _money(draw: Draw, state: State) -> Slots:
    source, target = draw.rng.sample(list(_RATES), 2)
    return {"amount": draw.amount(), "source": source, "target": target}


def _unserved(draw: Draw, state: State, slots: Slots) -> str:
    return draw.city()


def _id_by_time(slots: Slots, results: Any) -> str:
    flights = results[0]["flights"]
    (flight,) = [f["flight"] for f in flights if f["departs"] == slots["departs"]]
    return str(flight)


def _flights(result: Mapping[str, Any]) -> str:
    parts = [f"{f['flight']} at {f['departs']} for {f['price']}" for f in result["flights"]]
    return listing(parts) or "no flights"


def _one(slots: Slots, _: Any) -> list[str]:
    return [slots["first"]]


def _two(slots: Slots, _: Any) -> list[str]:
    return [slots["first"], slots["second"]]


REQUESTS = (
    Request(
        _open_flight,
        (step("search_flights", "origin", "destination", "date"),),
        clauses=(
            "find flights from {origin} to {destination} on {date}",
            "search for a flight to {destination} from {origin} on {date}",
            "look up flights from {origin} to {destination} for {date}",
            "show me flights on {date} from {origin} to {destination}",
        ),
        sentences=(
            "Which flights go from {origin} to {destination} on {date}?",
            "I need to get from {origin} to {destination} on {date}. Any flights?",
        ),
        answers=("I found {summary}.", "From {origin} to {destination}: {summary}."),
        summary=_flights,
        asks=(
            Ask(
                ("find flights from {origin} to {destination}",),
                "On which date do you want to fly?",
                ("On {date}.", "{date}, please.", "I fly on {date}.", "It's for {date}."),
            ),
            Ask(
                ("find a flight to {destination} on {date}",),
                "Where do you want to fly from?",
                ("From {origin}.", "{origin}.", "I start in {origin}.", "{origin}, please."),
            ),
        ),
        slips=(Slip("origin", _unserved, "From which other city could you fly?"),),
    ),
    Request(
        _open_flight,
        (step("book_flight", "flight", passengers=_one),),
        clauses=(
            "book flight {flight} for {first}",
            "reserve a seat on {flight} for {first}",
            "get {first} a seat on flight {flight}",
            "book {first} on {flight}",
        ),
        sentences=(
            "{first} wants to fly on {flight}. Please book it.",
            "{flight} for {first}, please.",
        ),
        answers=("{first} is booked on {flight} for {r[total]}.", "Booked; it costs {r[total]}."),
        asks=(
            Ask(
                ("book a seat on flight {flight}", "reserve one seat on {flight}"),
                "Who is the passenger?",
                ("{first}.", "For {first}.", "The passenger is {first}.", "It's {first}."),
            ),
        ),
        slips=(
            Slip(
                "flight",
                lambda draw, state, slots: draw.code("TK###"),
                "Could you check the flight number?",
            ),
        ),
    ),
    Request(
        _open_flight,
        (step("book_flight", "flight", passengers=_two),),
        clauses=(
            "book flight {flight} for {first} and {second}",
            "reserve seats on {flight} for {first} and {second}",
            "get {first} and {second} seats on flight {flight}",
            "book {first} and {second} on {flight}",
        ),
        sentences=(
            "{first} and {second} fly on {flight}. Please book it.",
            "Two seats on {flight}, please: {first} and {second}.",
        ),
        answers=("{r[booked]} seats on {flight} are booked for {r[total]}.",),
    ),
    Request(
        _place,
        (step("get_weather", "city", "date"),),
        clauses=(
            "check the weather in {city} on {date}",
            "get the forecast for {city} on {date}",
            "tell me the weather in {city} for {date}",
            "look up how warm {city} will be on {date}",
        ),
        sentences=(
            "What will the weather be in {city} on {date}?",
            "How is the weather in {city} on {date}?",
        ),
        pairs=(
            "check the weather in {city1} on {date1} and in {city2} on {date2}",
            "get the forecast for {city1} on {date1} and for {city2} on {date2}",
        ),
        answers=(
            "{city} will be {r[sky]} with {r[degrees]} degrees on {date}.",
            "On {date} expect {r[sky]} weather and {r[degrees]} degrees in {city}.",
        ),
        asks=(
            Ask(
                ("check the weather in {city}", "get the forecast for {city}"),
                "For which date?",
                ("For {date}.", "{date}, please.", "On {date}.", "I'm there on {date}."),
            ),
        ),
        slips=(Slip("city", _unserved, "Shall I look up another city?"),),
    ),
    Request(
        _money,
        (step("convert_currency", "amount", "source", "target"),),
        clauses=(
            "convert {amount} {source} to {target}",
            "change {amount} {source} into {target}",
            "work out {amount} {source} in {target}",
            "tell me what {amount} {source} is in {target}",
        ),
        sentences=(
            "How much is {amount} {source} in {target}?",
            "What is {amount} {source} in {target}?",
        ),
        pairs=("convert {amount1} {source1} to {target1} and {amount2} {source2} to {target2}",),
        answers=("{amount} {source} is {r[result]} {target}.", "That is {r[result]} {target}."),
        asks=(
            Ask(
                ("convert {amount} {source} for me", "exchange {amount} {source}"),
                "Into which currency?",
                ("Convert the {amount} to {target}.", "{target} for the {amount}, please."),
            ),
        ),
    ),
    Request(
        _open_flight,
        (
            step("search_flights", "origin", "destination", "date"),
            step("book_flight", flight=_id_by_time, passengers=_one),
        ),
        clauses=(
            "book {first} on the {departs} flight from {origin} to {destination} on {date}",
            "find the {departs} flight from {origin} to {destination} on {date} for {first} "
            "and book it",
            "get {first} from {origin} to {destination} on {date}, on the {departs} flight",
            "book the flight at {departs} from {origin} to {destination} on {date} for {first}",
        ),
        sentences=(
            "{first} flies from {origin} to {destination} on {date} at {departs}. Please book it.",
            "From {origin} to {destination} on {date} at {departs}: book it for {first}.",
        ),
        answers=("{first} is booked to {destination} for {r[total]}.",),
    ),
    Request(
        _full_flight,
        (
            step("book_flight", "flight", passengers=_one),
            step(
                "book_flight", flight=lambda _, results: results[0]["alternative"], passengers=_one
            ),
        ),
        clauses=(
            "book {flight} for {first}, or the alternative if it is full",
            "get {first} on {flight} or, if it's full, on the alternative",
            "reserve {flight} for {first}; if full, take the alternative",
            "book {first} on {flight}, else on the alternative flight",
        ),
        sentences=(
            "{first} wants {flight}. If it's full, book the alternative.",
            "{flight} for {first}, please. No seats? Then the alternative.",
        ),
        answers=("{flight} was full, so {first} has the alternative, for {r[total]}.",),
        recovers=True,
    ),
)

TRAVEL = World(
    name="travel",
    topic="travel plans",
    tools=TOOLS,
    functions={
        "search_flights": _search,
        "book_flight": _book,
        "get_weather": _weather,
        "convert_currency": _convert,
    },
    populate=_populate,
    requests=REQUESTS,
)
