"""A mailbox with contacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooltune.worlds.base import (
    BOOLEAN,
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
from tooltune.worlds.pools import LAST_NAMES, Draw
from tooltune.worlds.requests import Ask, Request, Slip, Slots, listing, step

_FOLDERS = ("archive", "spam", "trash")


def _populate(draw: Draw) -> State:
    contacts: Json = {}
    mails: Json = {}
    for person in draw.some(draw.person, 4):
        contacts[person] = draw.email(person)
        for subject in draw.some(draw.title, draw.any((1, 2, 2))):
            mails[draw.code("m###")] = {
                "sender": contacts[person],
                "subject": subject,
                "unread": draw.any((True, False)),
                "folder": "inbox",
            }
    return {"contacts": contacts, "mails": mails, "sent": []}


def _find_contact(state: State, args: Json) -> Json:
    if args["name"] not in state["contacts"]:
        first = args["name"].split()[0]
        near = [name for name in state["contacts"] if name.split()[0] == first]
        hint = {"similar": near[0]} if len(near) == 1 else {}
        raise ToolError(f"There is no contact {args['name']}.", **hint)
    return {"email": state["contacts"][args["name"]]}


def _add_contact(state: State, args: Json) -> Json:
    if args["name"] in state["contacts"]:
        raise ToolError(f"{args['name']} is a contact already.")
    if args["email"].count("@") != 1:
        raise ToolError(f"{args['email']} is no e-mail address.")
    state["contacts"][args["name"]] = args["email"]
    return {"contacts": len(state["contacts"])}


def _send(state: State, args: Json) -> Json:
    if args["to"].count("@") != 1:
        raise ToolError(f"{args['to']} is no e-mail address.")
    state["sent"].append({"to": args["to"], "subject": args["subject"]})
    return {"status": "sent"}


def _search(state: State, args: Json) -> Json:
    unread_only = args.get("unread_only", False)
    found = [
        {"mail_id": mail_id, "subject": mail["subject"]}
        for mail_id, mail in state["mails"].items()
        if mail["sender"] == args["sender"] and mail["folder"] == "inbox"
        if mail["unread"] or not unread_only
    ]
    if not found:
        raise ToolError(f"There are no such mails from {args['sender']}.")
    return {"mails": found}


def _move(state: State, args: Json) -> Json:
    mails = [find(state["mails"], mail_id, "mail") for mail_id in args["mail_ids"]]
    for mail in mails:
        mail["folder"] = args["folder"]
    return {"moved": len(mails)}


TOOLS = (
    tool("find_contact", "Find a contact's address.", {"name": STRING}),
    tool("add_contact", "Add a contact.", {"name": STRING, "email": STRING}),
    tool("send_mail", "Send a mail.", {"to": STRING, "subject": STRING}),
    tool(
        "search_mail",
        "Search mails from an address.",
        {"sender": STRING},
        {"unread_only": BOOLEAN},
    ),
    tool(
        "move_mail",
        "Move mails to a folder.",
        {"mail_ids": STRINGS, "folder": choice(*_FOLDERS)},
    ),
)


def _contact(draw: Draw, state: State) -> Slots:
    name = draw.any(list(state["contacts"]))
    return {"name": name, "email": state["contacts"][name], "subject": draw.title()}


def _stranger(draw: Draw, state: State) -> Slots:
    name = draw.person()
    return {"name": name, "email": draw.email(name)}


def _mail(draw: Draw, state: State) -> Slots:
    inbox = [key for key, mail in state["mails"].items() if mail["folder"] == "inbox"]
    first, second = draw.rng.sample(inbox, 2)
    sender = state["mails"][first]["sender"]
    return {"first": first, "second": second, "sender": sender, "folder": draw.any(_FOLDERS)}


def _misspelt(draw: Draw, state: State) -> Slots:
    slots = _contact(draw, state)
    wrong = f"{slots['name'].split()[0]} {draw.pick(LAST_NAMES)}"
    return {**slots, "name": wrong}


def _unknown_sender(draw: Draw, state: State, slots: Slots) -> str:
    return draw.email(draw.person())


def _mails(result: Mapping[str, Any]) -> str:
    return listing([f'"{mail["subject"]}" ({mail["mail_id"]})' for mail in result["mails"]])


def _ids(_: Slots, results: Any) -> list[str]:
    return [mail["mail_id"] for mail in results[0]["mails"]]


_SENDER_SLIP = Slip("sender", _unknown_sender, "Could you check the address?")

REQUESTS = (
    Request(
        _contact,
        (step("find_contact", "name"),),
        clauses=(
            "find the address of {name}",
            "look up {name}'s e-mail",
            "get me the e-mail address of {name}",
            "search my contacts for {name}",
        ),
        sentences=("What is {name}'s address?", "Do I have an address for {name}?"),
        pairs=("look up the addresses of {name1} and {name2}",),
        answers=("{name}'s address is {r[email]}.", "I found {r[email]} for {name}."),
        slips=(
            Slip("name", lambda draw, state, slots: draw.person(), "Could you check the name?"),
        ),
    ),
    Request(
        _stranger,
        (step("add_contact", "name", "email"),),
        clauses=(
            "add {name} with {email} to my contacts",
            "save {name} as a contact, address {email}",
            "store {email} as the address of {name}",
            "create a contact {name} with the address {email}",
        ),
        sentences=("{name} has the address {email}. Save it.", "New contact: {name}, {email}"),
        answers=("{name} is in your contacts now.", "I saved {name} with {email}."),
        asks=(
            Ask(
                ("add {name} to my contacts", "save {name} as a contact"),
                "What is the e-mail address?",
                ("{email}", "It is {email}", "Use {email} please.", "The address is {email}"),
            ),
        ),
    ),
    Request(
        _contact,
        (step("send_mail", "subject", to=lambda slots, _: slots["email"]),),
        clauses=(
            'send a mail to {email} with the subject "{subject}"',
            'write to {email}, subject "{subject}"',
            'mail {email} about "{subject}"',
            'send {email} a mail titled "{subject}"',
        ),
        sentences=(
            'I need to write to {email}. The subject is "{subject}".',
            'New mail to {email}: "{subject}".',
        ),
        answers=('Your mail "{subject}" is sent.', 'I wrote to {email} about "{subject}".'),
        asks=(
            Ask(
                ("send a mail to {email}", "write to {email}"),
                "What should the subject be?",
                ('"{subject}".', 'The subject is "{subject}".', 'Make it "{subject}".'),
            ),
            Ask(
                ('send a mail with the subject "{subject}"',),
                "To which address should it go?",
                ("To {email}", "Send it to {email} please.", "{email}"),
            ),
        ),
    ),
    Request(
        _mail,
        (step("search_mail", "sender"),),
        clauses=(
            "search my mail from {sender}",
            "show me all mails from {sender}",
            "find what {sender} wrote",
            "list the mails that {sender} sent me",
        ),
        sentences=("Which mails do I have from {sender}?", "What did {sender} write to me?"),
        pairs=("search my mail from {sender1} and from {sender2}",),
        answers=("I found {summary}.", "From {sender} there is {summary}."),
        summary=_mails,
        slips=(_SENDER_SLIP,),
    ),
    Request(
        _mail,
        (step("search_mail", "sender", unread_only=lambda *_: True),),
        clauses=(
            "show me only unread mails from {sender}",
            "find only the unread mail from {sender}",
            "list only the unread mails that {sender} sent",
            "search for unread mails only, from {sender}",
        ),
        sentences=(
            "Which unread mails do I have from {sender}? Only unread ones.",
            "Only the unread ones: what did {sender} send?",
        ),
        answers=("Unread: {summary}.", "You have not read {summary}."),
        summary=_mails,
    ),
    Request(
        _mail,
        (
            step(
                "move_mail",
                mail_ids=lambda slots, _: [slots["first"]],
                folder=lambda slots, _: slots["folder"],
            ),
        ),
        clauses=(
            "move mail {first} to {folder}",
            "put {first} into the {folder} folder",
            "file {first} under {folder}",
            "send mail {first} to the {folder} folder",
        ),
        sentences=("Mail {first} belongs in {folder}.", "{first} should be in {folder}, please."),
        answers=("Mail {first} is in {folder} now.", "I moved {first} to {folder}."),
        asks=(
            Ask(
                ("move mail {first} to another folder", "file mail {first}"),
                "Into archive, spam or trash?",
                ("Put {first} into {folder}.", "{folder} for {first}, please."),
            ),
        ),
        slips=(
            Slip(
                "first",
                lambda draw, state, slots: draw.code("m###"),
                "Which mail do you mean?",
            ),
        ),
    ),
    Request(
        _mail,
        (
            step(
                "move_mail",
                mail_ids=lambda slots, _: [slots["first"], slots["second"]],
                folder=lambda slots, _: slots["folder"],
            ),
        ),
        clauses=(
            "move mails {first} and {second} to {folder}",
            "put {first} and {second} into the {folder} folder",
            "file {first} and {second} under {folder}",
            "send mails {first} and {second} to the {folder} folder",
        ),
        sentences=(
            "Mails {first} and {second} belong in {folder}.",
            "{first} and {second} should be in {folder}, please.",
        ),
        answers=("{r[moved]} mails are in {folder} now.", "I moved {first} and {second}."),
    ),
    Request(
        _contact,
        (
            step("find_contact", "name"),
            step(
                "send_mail",
                to=lambda _, results: results[0]["email"],
                subject=lambda slots, _: slots["subject"],
            ),
        ),
        clauses=(
            'send {name} a mail with the subject "{subject}"',
            'write to {name}, subject "{subject}"',
            'look up {name} and send a mail about "{subject}"',
            'mail {name} about "{subject}"',
        ),
        sentences=(
            'I need to write to {name}. The subject is "{subject}".',
            '{name} should get a mail titled "{subject}".',
        ),
        answers=('I sent {name} the mail "{subject}".', "Your mail to {name} is sent."),
    ),
    Request(
        _mail,
        (
            step("search_mail", "sender"),
            step("move_mail", mail_ids=_ids, folder=lambda slots, _: slots["folder"]),
        ),
        clauses=(
            "move everything from {sender} to {folder}",
            "put all mails from {sender} into the {folder} folder",
            "find all mails from {sender} and move them to {folder}",
            "file whatever {sender} sent me under {folder}",
        ),
        sentences=(
            "All mails from {sender} belong in {folder}.",
            "Everything that {sender} wrote should be in {folder}.",
        ),
        answers=("Everything from {sender} is in {folder} now.", "Moved to {folder}: {r[moved]}."),
    ),
    Request(
        _misspelt,
        (
            step("find_contact", "name"),
            step("find_contact", name=lambda _, results: results[0]["similar"]),
        ),
        clauses=(
            "find the address of {name}, or of the most similar name",
            "look up {name}; if the name is wrong, take the similar one",
            "get the e-mail of {name} or of a similar contact",
            "search for {name}, or whoever has a similar name",
        ),
        sentences=(
            "I need the address of {name}. If there is none, take the similar name.",
            "What is {name}'s address? I may have the name wrong, so try a similar one too.",
        ),
        answers=("There is no {name}, but a similar contact has {r[email]}.",),
        recovers=True,
    ),
)

INBOX = World(
    name="inbox",
    topic="mail and contacts",
    tools=TOOLS,
    functions={
        "find_contact": _find_contact,
        "add_contact": _add_contact,
        "send_mail": _send,
        "search_mail": _search,
        "move_mail": _move,
    },
    populate=_populate,
    requests=REQUESTS,
)
