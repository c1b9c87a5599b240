"""A public library: the held-out world, whose tools no training trace has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.worlds.base import INTEGER, STRING, Json, State, ToolError, World, find, tool
from tooltune.worlds.pools import Draw
from tooltune.worlds.requests import Ask, Request, Slip, Slots, listing, step

_LONGEST = 6


def _populate(draw: Draw) -> State:
    members = {m: {"name": draw.person()} for m in draw.some(lambda: draw.code("M###"), 4)}
    books: Json = {}
    titles = iter(draw.some(draw.book, 8))
    ids = iter(draw.some(lambda: draw.code("bk-###"), 8))
    for author in draw.some(draw.person, 4):
        for _ in range(2):
            books[next(ids)] = {"title": next(titles), "author": author, "loan": None}
    loans: Json = {}
    for member, book in zip(members, draw.rng.sample(list(books), 4), strict=True):
        loan_id = draw.code("L###")
        loans[loan_id] = {"member": member, "book": book, "weeks": 3}
        books[book]["loan"] = loan_id
    return {"members": members, "books": books, "loans": loans, "holds": []}


def _find_books(state: State, args: Json) -> Json:
    found = [
        {"book_id": key, "title": book["title"]}
        for key, book in state["books"].items()
        if book["author"] == args["author"]
    ]
    if not found:
        raise ToolError(f"There are no books by {args['author']}.")
    return {"books": found}


def _borrow(state: State, args: Json) -> Json:
    find(state["members"], args["member_id"], "member")
    book = find(state["books"], args["book_id"], "book")
    if book["loan"] is not None:
        raise ToolError(f"Book {args['book_id']} is on loan.")
    loan_id = f"L{max(int(key[1:]) for key in state['loans']) + 1}"
    state["loans"][loan_id] = {"member": args["member_id"], "book": args["book_id"], "weeks": 3}
    book["loan"] = loan_id
    return {"loan_id": loan_id, "weeks": 3}


def _renew(state: State, args: Json) -> Json:
    loan = find(state["loans"], args["loan_id"], "loan")
    if not 1 <= args["weeks"] <= _LONGEST:
        raise ToolError(f"Only 1 to {_LONGEST} weeks are allowed.", longest=_LONGEST)
    loan["weeks"] += args["weeks"]
    return {"loan_id": args["loan_id"], "weeks_left": loan["weeks"]}


def _hold(state: State, args: Json) -> Json:
    find(state["members"], args["member_id"], "member")
    book = find(state["books"], args["book_id"], "book")
    if book["loan"] is None:
        raise ToolError(f"Book {args['book_id']} is not on loan: borrow it.")
    state["holds"].append({"member": args["member_id"], "book": args["book_id"]})
    return {"position": sum(hold["book"] == args["book_id"] for hold in state["holds"])}


def _list_loans(state: State, args: Json) -> Json:
    find(state["members"], args["member_id"], "member")
    rows = [
        {"loan_id": key, "title": state["books"][loan["book"]]["title"], "weeks": loan["weeks"]}
        for key, loan in state["loans"].items()
        if loan["member"] == args["member_id"]
    ]
    return {"loans": rows}


TOOLS = (
    tool("find_books", "Find books by an author.", {"author": STRING}),
    tool("borrow_book", "Lend a book to a member.", {"member_id": STRING, "book_id": STRING}),
    tool("renew_loan", "Extend a loan.", {"loan_id": STRING, "weeks": INTEGER}),
    tool(
        "place_hold",
        "Reserve a book that is on loan.",
        {"member_id": STRING, "book_id": STRING},
    ),
    tool("list_loans", "List a member's loans.", {"member_id": STRING}),
)


def _book(draw: Draw, state: State, on_loan: bool = False) -> Slots:
    fits = [key for key, book in state["books"].items() if (book["loan"] is not None) is on_loan]
    book_id = draw.any(fits)
    return {
        **state["books"][book_id],
        "book_id": book_id,
        "member_id": draw.any(list(state["members"])),
    }


def _free_book(draw: Draw, state: State) -> Slots:
    return _book(draw, state)


def _lent_book(draw: Draw, state: State) -> Slots:
    return _book(draw, state, on_loan=True)


def _loan(draw: Draw, state: State) -> Slots:
    loan_id = draw.any(list(state["loans"]))
    loan = state["loans"][loan_id]
    return {
        "loan_id": loan_id,
        "member_id": loan["member"],
        "title": state["books"][loan["book"]]["title"],
        "weeks": draw.any(range(2, _LONGEST + 1)),
    }


def _long_loan(draw: Draw, state: State) -> Slots:
    return {**_loan(draw, state), "weeks": draw.any(range(_LONGEST + 1, 15))}


def _book_by_title(slots: Slots, results: Any) -> str:
    (book_id,) = [b["book_id"] for b in results[0]["books"] if b["title"] == slots["title"]]
    return str(book_id)


def _loan_by_title(slots: Slots, results: Any) -> str:
    (loan_id,) = [x["loan_id"] for x in results[0]["loans"] if x["title"] == slots["title"]]
    return str(loan_id)


def _books(result: Mapping[str, Any]) -> str:
    return listing([f'"{book["title"]}" ({book["book_id"]})' for book in result["books"]])


def _loans(result: Mapping[str, Any]) -> str:
    parts = [f'"{loan["title"]}" ({loan["loan_id"]})' for loan in result["loans"]]
    return listing(parts) or "no loans"


def _unknown_member(draw: Draw, state: State, slots: Slots) -> str:
    return draw.code("M###")


_MEMBER_SLIP = Slip("member_id", _unknown_member, "Could you check the member number?")

REQUESTS = (
    Request(
        _free_book,
        (step("find_books", "author"),),
        clauses=(
            "find books by {author}",
            "search the catalogue for {author}",
            "look up what {author} has written",
            "show me the books of {author}",
        ),
        sentences=("Which books by {author} do you have?", "Do you have anything by {author}?"),
        pairs=("find books by {author1} and by {author2}",),
        answers=("By {author} we have {summary}.", "I found {summary}."),
        summary=_books,
        slips=(
            Slip("author", lambda draw, state, slots: draw.person(), "Could you check the name?"),
        ),
    ),
    Request(
        _free_book,
        (step("borrow_book", "member_id", "book_id"),),
        clauses=(
            "lend book {book_id} to member {member_id}",
            "check out {book_id} for {member_id}",
            "let {member_id} borrow {book_id}",
            "register {book_id} as borrowed by {member_id}",
        ),
        sentences=(
            "I'm member {member_id} and I'd like to borrow {book_id}.",
            "Member {member_id} wants to borrow book {book_id}.",
        ),
        pairs=("lend {book_id1} to {member_id1} and {book_id2} to {member_id2}",),
        answers=("{book_id} is lent for {r[weeks]} weeks; the loan is {r[loan_id]}.",),
        asks=(
            Ask(
                ("borrow book {book_id}", "check out book {book_id}"),
                "What is the member number?",
                ("It is {member_id}.", "{member_id}.", "Member {member_id}."),
            ),
        ),
        slips=(_MEMBER_SLIP,),
    ),
    Request(
        _loan,
        (step("renew_loan", "loan_id", "weeks"),),
        clauses=(
            "renew loan {loan_id} for {weeks} weeks",
            "extend {loan_id} by {weeks} weeks",
            "prolong loan {loan_id} by {weeks} weeks",
            "give loan {loan_id} {weeks} more weeks",
        ),
        sentences=(
            "I need {weeks} more weeks for loan {loan_id}.",
            "Can I keep {loan_id} for {weeks} more weeks?",
        ),
        answers=("Loan {loan_id} now has {r[weeks_left]} weeks.", "Loan {loan_id} is renewed."),
        asks=(
            Ask(
                ("renew loan {loan_id}", "extend loan {loan_id}"),
                "For how many weeks?",
                ("{loan_id} for {weeks} weeks.", "Renew {loan_id} for {weeks} weeks, please."),
            ),
        ),
        slips=(
            Slip(
                "loan_id",
                lambda draw, state, slots: draw.code("L###"),
                "Which loan do you mean?",
            ),
        ),
    ),
    Request(
        _lent_book,
        (step("place_hold", "member_id", "book_id"),),
        clauses=(
            "reserve book {book_id} for member {member_id}",
            "place a hold on {book_id} for {member_id}",
            "put {member_id} on the waiting list for {book_id}",
            "hold {book_id} for {member_id}",
        ),
        sentences=(
            "Member {member_id} would like to reserve {book_id}.",
            "I'm {member_id}. Please reserve book {book_id} for me.",
        ),
        answers=("{member_id} is number {r[position]} in line for {book_id}.",),
        asks=(
            Ask(
                ("reserve book {book_id}", "place a hold on {book_id}"),
                "For which member?",
                ("For {member_id}.", "{member_id}, please.", "Member {member_id}."),
            ),
        ),
        slips=(_MEMBER_SLIP,),
    ),
    Request(
        _loan,
        (step("list_loans", "member_id"),),
        clauses=(
            "list the loans of member {member_id}",
            "show me what {member_id} has borrowed",
            "check the loans of {member_id}",
            "look up the loans of member {member_id}",
        ),
        sentences=("What has member {member_id} borrowed?", "Which loans does {member_id} have?"),
        pairs=("list the loans of {member_id1} and {member_id2}",),
        answers=("{member_id} has {summary}.", "I see {summary}."),
        summary=_loans,
        slips=(_MEMBER_SLIP,),
    ),
    Request(
        _free_book,
        (step("find_books", "author"), step("borrow_book", "member_id", book_id=_book_by_title)),
        clauses=(
            'lend "{title}" by {author} to member {member_id}',
            'find "{title}" by {author} and lend it to {member_id}',
            'check out "{title}" by {author} for {member_id}',
            'let {member_id} borrow "{title}" by {author}',
        ),
        sentences=(
            "I'm member {member_id} and I'd like to borrow \"{title}\" by {author}.",
            'Member {member_id} wants "{title}" by {author}.',
        ),
        answers=('"{title}" is lent to {member_id}; the loan is {r[loan_id]}.',),
    ),
    Request(
        _loan,
        (
            step("list_loans", "member_id"),
            step("renew_loan", loan_id=_loan_by_title, weeks=lambda slots, _: slots["weeks"]),
        ),
        clauses=(
            'renew "{title}" for member {member_id} by {weeks} weeks',
            'extend the loan of "{title}" for {member_id} by {weeks} weeks',
            'find "{title}" among the loans of {member_id} and renew it for {weeks} weeks',
            'give {member_id} {weeks} more weeks for "{title}"',
        ),
        sentences=(
            'I\'m {member_id}. I need {weeks} more weeks for "{title}".',
            'Member {member_id} wants to keep "{title}" for {weeks} more weeks.',
        ),
        answers=('"{title}" is renewed by {weeks} weeks.',),
    ),
    Request(
        _lent_book,
        (
            step("borrow_book", "member_id", "book_id"),
            step("place_hold", "member_id", "book_id"),
        ),
        clauses=(
            "lend {book_id} to {member_id}, or reserve it if it is on loan",
            "check out {book_id} for {member_id}; if it's on loan, reserve it",
            "let {member_id} borrow {book_id}, else place a hold",
            "give {book_id} to {member_id} or put a hold on it if it's out",
        ),
        sentences=(
            "I'm {member_id} and want to borrow {book_id}. If it's out, reserve it.",
            "{member_id} would like {book_id}. On loan? Then place a hold.",
        ),
        answers=("{book_id} is on loan; {member_id} is number {r[position]} in line.",),
        recovers=True,
    ),
    Request(
        _long_loan,
        (
            step("renew_loan", "loan_id", "weeks"),
            step("renew_loan", "loan_id", weeks=lambda _, results: results[0]["longest"]),
        ),
        clauses=(
            "renew {loan_id} for {weeks} weeks or as long as allowed",
            "extend loan {loan_id} by {weeks} weeks, or the maximum",
            "prolong {loan_id} by {weeks} weeks; if that's too long, by the maximum",
            "give loan {loan_id} {weeks} more weeks, or the most you allow",
        ),
        sentences=(
            "I need {weeks} more weeks for {loan_id}. If that's too long, the maximum.",
            "Can I keep {loan_id} for {weeks} more weeks, or else as long as possible?",
        ),
        answers=("{weeks} weeks is too long; {loan_id} now has {r[weeks_left]} weeks.",),
        recovers=True,
    ),
)

LIBRARY = World(
    name="library",
    topic="a public library",
    tools=TOOLS,
    functions={
        "find_books": _find_books,
        "borrow_book": _borrow,
        "renew_loan": _renew,
        "place_hold": _hold,
        "list_loans": _list_loans,
    },
    populate=_populate,
    requests=REQUESTS,
)
