"""The `openai` engine and a server that dies, stalls, refuses or answers nonsense."""

from __future__ import annotations

import signal
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest

from tests.evaluate.scripted_server import (
    MODEL,
    Asked,
    Reply,
    Scripted,
    chat_reply,
    error_reply,
    is_trial,
    polite,
    scripted_server,
)
from tests.evaluate.test_server import WEATHER, ask, one, question
from tooltune.errors import UserError
from tooltune.evaluate.engines.openai import generate_on_server
from tooltune.evaluate.server import ServerAnswer, ServerOptions, pace


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST_WAIT", 0.001)


def good(text: str = "fine") -> Reply:
    return chat_reply(text)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Reply({"choices": []}), "bad_answer: the reply has no choices"),
        (
            Reply({"error": {"message": "out of slots"}}),
            "bad_answer: the reply has no choices: out",
        ),
        (Reply(b'{"choices": [{"mess'), "bad_answer: the body is no JSON"),
        (Reply(b"<html>Bad gateway</html>"), "bad_answer: the body is no JSON"),
        (Reply([1]), "bad_answer: the body is no JSON object"),
        (Reply(b"[" * 100_000), "bad_answer: the body is no JSON"),
        (Reply(b"\xff\xfe\x00"), "bad_answer: the body is no JSON"),
        (Reply(b"junk", headers={"Content-Encoding": "gzip"}), "bad_answer: the body cannot be"),
        (Reply({"choices": [{}]}), "bad_answer: the choice has no message"),
        (Reply({"choices": []}, promised=500), "connection: "),
        (Reply(hang_up=True), "connection: "),
        (Reply({"choices": "x" * 100}, stall=True), "timeout: no whole answer within 1.5 s"),
        (Reply({"choices": "x" * 100}, dribble=True), "timeout: no whole answer within 1.5 s"),
        (error_reply(500, "CUDA\nerror"), "server_error: HTTP 500: CUDA error"),
        (error_reply(503, "Loading model"), "server_error: HTTP 503: Loading model"),
        (error_reply(429, "slow down"), "rate_limited: HTTP 429: slow down"),
        (error_reply(400, "roles must alternate"), "refused: HTTP 400: roles must alternate"),
        (Reply({"detail": [{"msg": "bad"}]}, 422), 'refused: HTTP 422: [{"msg": "bad"}]'),
        (Reply(b"", 400), "refused: HTTP 400"),
    ],
)
def test_a_fault_fails_its_own_sample_with_the_reason(fault: Reply, error: str) -> None:
    def script(asked: Asked) -> Reply:
        return fault if asked.question == "q1" else good()

    with scripted_server(polite(script)) as server:
        answers = ask(
            server.url,
            [question(i) for i in range(3)],
            max_retries=2,
            timeout_s=1.5 if fault.stall or fault.dribble else 30,
        )
    assert answers[0].text == answers[2].text == "fine"
    failed = answers[1]
    assert failed.error is not None
    assert failed.error.startswith(error)
    assert (failed.finish_reason, failed.text, failed.calls) == ("error", "", None)
    final = error.startswith("refused")
    again = error.startswith(("bad_answer", "timeout"))
    assert failed.attempts == (1 if final else 2 if again else 3)


@pytest.mark.parametrize(
    "fault",
    [
        Reply({"choices": []}),
        Reply(b"{", 200),
        Reply({"choices": []}, promised=9),
        Reply(hang_up=True),
        error_reply(500, "no"),
        error_reply(429, "slow down"),
        error_reply(408, "slow"),
    ],
)
def test_what_passes_is_tried_again(fault: Reply) -> None:
    tries = []

    def script(asked: Asked) -> Reply:
        tries.append(asked)
        return fault if len(tries) == 1 else good()

    answer = one(script)
    assert (answer.text, answer.error, answer.attempts) == ("fine", None, 2)


@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds"])
def test_the_wait_that_a_server_asks_for_is_kept_by_all_requests(form: str) -> None:
    first: list[float] = []
    later: list[float] = []
    headers = {
        "seconds": {"Retry_After": "0.6"},
        "date": {"Retry_After": formatdate(time.time() + 3, usegmt=True)},
        "milliseconds": {"retry_after_ms": "600"},
    }[form]

    def script(asked: Asked) -> Reply:
        if not first:
            first.append(time.monotonic())
            return error_reply(429, "slow down", **headers)
        later.append(time.monotonic())
        return good()

    with scripted_server(polite(script)) as server:
        answers = ask(server.url, [question(i) for i in range(3)], concurrency=1)
    assert [a.error for a in answers.values()] == [None] * 3
    assert min(later) - first[0] >= 0.55


def test_who_is_asked_to_wait_for_hours_is_told_to_come_back() -> None:
    def script(asked: Asked) -> Reply:
        return error_reply(429, "daily limit", Retry_After="7200")

    with scripted_server(polite(script)) as server, pytest.raises(UserError) as stopped:
        ask(server.url)
    assert "7,200 s" in str(stopped.value)
    assert "same command" in str(stopped.value)


@pytest.mark.parametrize(
    "reply",
    [
        error_reply(400, "This model's maximum context length is 2048 tokens. However, ..."),
        error_reply(400, "the request exceeds the available context size (4096 tokens)"),
        error_reply(500, "the request exceeds the available context size"),
        Reply({"error": {"code": 400, "type": "exceed_context_size_error", "message": ""}}, 400),
        error_reply(400, "The input (9000 tokens) is longer than the model's context length"),
        error_reply(413, "too large"),
    ],
)
def test_a_prompt_that_is_too_long_skips_its_sample_at_once(reply: Reply) -> None:
    answer = one(lambda _: reply)
    assert (answer.error, answer.finish_reason, answer.attempts) == ("prompt_too_long", "error", 1)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (error_reply(401, "bad key"), "wants a key"),
        (error_reply(403, "not yours"), "wants a key"),
        (error_reply(404, "no such model"), f"no model '{MODEL}'"),
        (error_reply(405, "method not allowed"), "ends in /v1"),
        (error_reply(302, "", Location="http://elsewhere/"), "redirects"),
        (error_reply(429, "You exceeded your quota: insufficient_quota"), "refuses a plain"),
        (
            error_reply(400, '"auto" tool choice requires --enable-auto-tool-choice'),
            "--tool-call-parser NAME",
        ),
        (error_reply(500, "tools param requires --jinja flag"), "with --jinja"),
        (Reply(b"<html>"), "OpenAI-style API"),
        (Reply(hang_up=True), "cannot be reached"),
        (Reply({"choices": []}, stall=True), "does not answer"),
    ],
)
def test_a_server_that_can_be_asked_nothing_is_an_error_before_anything_is_generated(
    reply: Reply, said: str
) -> None:
    def script(asked: Asked) -> Reply:
        return Reply({"data": [{"id": MODEL}]}) if asked.path.endswith("/models") else reply

    with scripted_server(script) as server:
        with pytest.raises(UserError) as refused:
            ask(
                server.url,
                [question(tools=[WEATHER])],
                max_retries=1,
                timeout_s=1.5 if reply.stall else 30,
            )
        assert server.questions() == []
    assert said in str(refused.value)
    assert "fix:" in str(refused.value)


def test_nothing_listens_there() -> None:
    with scripted_server(polite(lambda _: good())) as server:
        url = server.url
    with pytest.raises(UserError, match="cannot be reached"):
        ask(url, max_retries=1)


def test_a_key_that_is_refused_is_said_to_be_wrong() -> None:
    def script(asked: Asked) -> Reply:
        return error_reply(401, "Incorrect API key")

    with scripted_server(script) as server, pytest.raises(UserError, match="refuses the key"):
        ask(server.url, api_key="wrong-key")


@pytest.mark.parametrize("names", [[], ["a", "b"]])
def test_which_model_must_be_named_unless_there_is_one(names: list[str]) -> None:
    def script(asked: Asked) -> Reply:
        return Reply({"data": [{"id": name} for name in names]})

    with scripted_server(script) as server, pytest.raises(UserError) as refused:
        ask(server.url)
    assert f"lists {len(names)} models" in str(refused.value)
    assert all(name in str(refused.value) for name in names)


def test_a_wrong_model_name_is_answered_with_those_there_are() -> None:
    def script(asked: Asked) -> Reply:
        if asked.path.endswith("/models"):
            return Reply({"data": [{"id": "right"}]})
        return error_reply(404, "The model `wrong` does not exist.")

    with scripted_server(script) as server, pytest.raises(UserError, match="it serves right"):
        ask(server.url, model="wrong")


def test_a_server_without_a_list_of_models_can_be_asked() -> None:
    def script(asked: Asked) -> Reply:
        return Reply(None, 404) if asked.path.endswith("/models") else good()

    with scripted_server(script) as server:
        assert ask(server.url, model="x")[0].text == "fine"


def test_a_server_that_hangs_up_over_its_list_of_models_can_be_asked() -> None:
    def script(asked: Asked) -> Reply:
        return Reply(None, 500, last=True) if asked.path.endswith("/models") else good()

    with scripted_server(script) as server:
        assert ask(server.url, model="x", max_retries=0)[0].text == "fine"


def _dying(server: Scripted, after: int) -> Any:
    def keep(index: int, answer: ServerAnswer) -> None:
        kept.append(answer)
        if len(kept) == after:
            server.close()

    kept: list[ServerAnswer] = []
    keep.kept = kept  # type: ignore[attr-defined]
    return keep


@pytest.mark.parametrize("left", [40, 2])
def test_a_server_that_dies_midway_stops_the_run_and_only_answers_are_kept(left: int) -> None:
    with scripted_server(polite(lambda _: good())) as server:
        keep = _dying(server, after=10)
        options = ServerOptions(server.url, concurrency=1, max_retries=1)
        with pytest.raises(UserError) as stopped:
            generate_on_server(options, [question(i) for i in range(10 + left)], keep)
    assert "cannot be reached" in str(stopped.value)
    assert f"10 of {10 + left} answers came and are kept" in str(stopped.value)
    assert "same command then continues" in str(stopped.value)
    assert [a.error for a in keep.kept] == [None] * 10, "no failure is reported for what was away"


def test_a_server_that_only_errs_from_some_point_on_stops_the_run() -> None:
    def script(asked: Asked) -> Reply:
        if asked.path.endswith("/models"):
            return Reply({"data": [{"id": MODEL}]})
        return good() if asked.number < 8 else error_reply(500, "engine is dead")

    answers: dict[int, ServerAnswer] = {}
    with scripted_server(script) as server:
        options = ServerOptions(server.url, concurrency=2, max_retries=1)
        with pytest.raises(UserError, match="engine is dead"):
            generate_on_server(
                options, [question(i) for i in range(50)], lambda i, a: answers.update({i: a})
            )
        assert len(server.asked) < 50
    assert [a.error for a in answers.values()] == [None] * 7


def test_a_key_that_ends_midway_stops_the_run() -> None:
    def script(asked: Asked) -> Reply:
        return good() if asked.number < 5 else error_reply(401, "expired")

    with scripted_server(polite(script)) as server, pytest.raises(UserError) as stopped:
        ask(server.url, [question(i) for i in range(20)], api_key="key-of-mine", concurrency=1)
    assert "refuses the key" in str(stopped.value)
    assert "4 of 20 answers" in str(stopped.value)


def test_many_bad_samples_in_a_row_do_not_stop_a_server_that_is_well() -> None:
    def script(asked: Asked) -> Reply:
        return good() if asked.question == "q0" else error_reply(500, "the template raises")

    with scripted_server(polite(script)) as server:
        answers = ask(server.url, [question(i) for i in range(30)], max_retries=0, concurrency=4)
        trials = sum(is_trial(a) for a in server.asked if a.body)
    assert sorted(answers) == list(range(30))
    assert sum(a.error is not None for a in answers.values()) == 29
    assert trials <= 8


def test_a_server_that_was_away_for_a_moment_is_asked_again_for_what_it_missed() -> None:
    lost: set[str] = set()

    def script(asked: Asked) -> Reply:
        if asked.number < 15 and asked.number > 4:
            lost.add(asked.question)
            return Reply(hang_up=True)
        return good()

    with scripted_server(polite(script)) as server:
        answers = ask(server.url, [question(i) for i in range(20)], max_retries=1, concurrency=1)
    assert len(lost) == 5
    assert [a.error for a in answers.values()] == [None] * 20


def test_ctrl_c_ends_it_at_once_though_requests_are_open() -> None:
    def script(asked: Asked) -> Reply:
        return good() if asked.question == "q0" else Reply({"choices": "x" * 99}, stall=True)

    def interrupt(index: int, answer: ServerAnswer) -> None:
        answered.append(index)
        main = threading.main_thread().ident
        assert main is not None
        threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT)).start()

    answered: list[int] = []
    with scripted_server(polite(script)) as server:
        options = ServerOptions(server.url, concurrency=4)
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            generate_on_server(options, [question(i) for i in range(100)], interrupt)
        taken = time.monotonic() - start
        assert len(server.questions()) <= 5
    assert answered == [0]
    assert taken < 15, "a stalled request would take 30 s"
