"""Generation and scoring are two things: outputs are asked for once, and scored at will."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.fake_source import (
    CITIES,
    DECIDES,
    FakeSource,
    LetterTokenizer,
    called,
    prepared,
    right,
)
from tests.evaluate.test_outputs import TEXT
from tooltune.errors import UserError
from tooltune.evaluate.evaluation_file import load_evaluation
from tooltune.evaluate.model_source import model_source
from tooltune.evaluate.outputs import OutputLog
from tooltune.evaluate.prepare import make_tasks
from tooltune.evaluate.results import evaluation_metrics, write_evaluation
from tooltune.evaluate.run import EvalOptions, Sampling, evaluate_outputs
from tooltune.evaluate.scoring import ScoringOptions, rescore_records, score_outputs, split_record
from tooltune.toolcalls.truth import GroundTruth
from tooltune.toolcalls.types import ParsedToolCall

GREEDY = EvalOptions()
THREE = EvalOptions(sampling=Sampling(), repeats=3)


def run(source: Any, options: EvalOptions = GREEDY, folder: Path | None = None, **how: Any) -> Any:
    items = how.pop("items", None) or prepared(**how)
    if folder is None:
        return evaluate_outputs(source, items, options)
    with OutputLog(folder, DECIDES) as log:
        return evaluate_outputs(source, items, options, log=log)


def test_records_stand_in_the_order_of_the_samples_whatever_came_first() -> None:
    done = run(FakeSource(), THREE)
    keys = [
        (record["gt_tool_calls"][0]["arguments"]["city"], record["repeat"])
        for record in done.records
    ]
    assert keys == [(city, repeat) for city in CITIES for repeat in range(3)]


@given(stop=st.integers(0, 12))
def test_an_interrupted_evaluation_goes_on_where_it_stopped_and_ends_the_same(
    stop: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    first, second = FakeSource(stop_after=stop), FakeSource()
    if stop < 12:
        with pytest.raises(KeyboardInterrupt):
            run(first, THREE, folder)
    else:
        run(first, THREE, folder)
    done = run(second, THREE, folder)
    asked = [*first.asked, *second.asked]
    assert len(asked) == len(set(asked)) == 12
    assert (done.reused, done.generated) == (stop, 12 - stop)
    assert done.records == run(FakeSource(), THREE).records


def test_more_samples_and_more_repeats_use_what_is_there(tmp_path: Path) -> None:
    sampled = replace(THREE, repeats=1)
    run(FakeSource(), sampled, tmp_path, cities=CITIES[:2])
    more = FakeSource()
    done = run(more, replace(sampled, repeats=2), tmp_path, cities=CITIES)
    assert (done.reused, len(more.asked)) == (2, 6)


def test_an_answer_to_another_prompt_under_the_same_id_is_refused(tmp_path: Path) -> None:
    items = prepared(CITIES[:1])
    run(FakeSource(), GREEDY, tmp_path, items=items)
    changed = [replace(items[0], prompt_ids=(1, 2))]
    with pytest.raises(UserError, match="has another prompt now"):
        run(FakeSource(), GREEDY, tmp_path, items=changed)


def test_each_answer_has_a_seed_of_its_own_that_nothing_else_changes() -> None:
    items = prepared()
    seeds = {task.key: task.seed for task in make_tasks(items, repeats=4, seed=7)}
    assert len(set(seeds.values())) == 16
    assert all(0 <= seed < 2**31 for seed in seeds.values())
    some = make_tasks(items[2:], repeats=2, seed=7)
    assert all(seeds[task.key] == task.seed for task in some)
    assert all(seeds[task.key] != task.seed for task in make_tasks(items, repeats=4, seed=8))


def test_samples_without_a_prompt_are_not_asked_and_count_as_wrong() -> None:
    items = prepared()
    items[1] = replace(items[1], skip_reason="prompt_too_long")
    source = FakeSource()
    done = run(source, items=items)
    assert len(source.asked) == 3
    metrics = evaluation_metrics(done.records, model_name="m")
    assert metrics["tool_call/_skip_prompt_too_long"] == 1
    assert metrics["tool_call/accuracy"] == 0.75


def test_metrics_count_tokens_ties_and_pass_at_k() -> None:
    done = run(FakeSource(lambda task: right(task) if task.repeat == 1 else ""), THREE)
    metrics = evaluation_metrics(done.records, model_name="m")
    assert (metrics["n_samples"], metrics["repeats"]) == (4, 3)
    assert (metrics["generated_tokens"], metrics["ties"]) == (36, 12)
    assert metrics["tool_call/_count"] == 12
    assert metrics["tool_call/accuracy"] == pytest.approx(1 / 3)
    assert metrics["tool_call/pass@1"] == pytest.approx(1 / 3)
    assert metrics["tool_call/pass@2"] == pytest.approx(2 / 3)
    assert metrics["tool_call/pass^2"] == 0


@given(texts=st.lists(TEXT, min_size=4, max_size=4))
def test_no_text_stops_the_scoring_and_all_of_it_can_be_read_back(
    texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("eval")
    answers = iter(texts)
    done = run(FakeSource(lambda task: next(answers)), GREEDY, folder)
    write_evaluation(folder, done.records, model_name="m")
    (folder / "samples.jsonl").read_text(encoding="utf-8")  # strictly
    read = load_evaluation(folder)
    assert [record["text"] for record in read] == texts[::-1]
    assert rescore_records(read, ScoringOptions()) == done.records


BAD = {
    "empty": "",
    "white space": " \n\t" * 50,
    "endless": "and so on " * 20_000,
    "repeated": '<tool_call>{"name": "get_time", "arguments": {"city": "Rome"}}</tool_call>' * 500,
    "truncated": '<tool_call>{"name": "get_time", "argum',
    "nested": '<tool_call>{"name": "get_time", "arguments": ' + '{"a":' * 5_000,
    "binary": bytes(range(256)).decode("latin-1") * 20,
    "half characters": '<tool_call>{"name": "\ud800", "arguments": {"city": "\udfff"}}</tool_call>',
    "replaced": "\ufffd" * 1000,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_bad_generations_are_wrong_and_nothing_worse(text: str, tmp_path: Path) -> None:
    done = run(FakeSource(lambda task: text), GREEDY, tmp_path)
    metrics = write_evaluation(tmp_path, done.records, model_name="m")
    assert metrics["tool_call/accuracy"] == 0.0
    assert metrics["tool_call/_count"] == 4
    assert [record["text"] for record in load_evaluation(tmp_path)] == [text] * 4


def broken_items() -> list[Any]:
    items = prepared()
    truth = GroundTruth.of([{"name": "get_time", "arguments": {}}])
    broken = replace(truth.calls[0], arguments={"city": float("nan")})
    sample = replace(items[1].sample, own_truth=GroundTruth(((broken,),)))
    items[1] = replace(items[1], sample=sample)
    return items


def test_ground_truth_that_nothing_could_equal_is_an_error_before_anything_is_generated() -> None:
    source = FakeSource()
    with pytest.raises(UserError, match=r"self-test failed on 1 of 4[\s\S]*exclude_broken"):
        run(source, items=broken_items())
    assert source.asked == []


def test_broken_ground_truth_is_left_out_on_request_and_counted(tmp_path: Path) -> None:
    source = FakeSource()
    done = run(source, replace(GREEDY, exclude_broken=True), items=broken_items())
    assert len(source.asked) == len(done.records) == 3
    metrics = write_evaluation(tmp_path, done.records, model_name="m", excluded=done.excluded)
    assert metrics["n_excluded"] == 1
    assert metrics["n_samples"] == 3
    assert "nan" in (tmp_path / "excluded.jsonl").read_text()


def test_alternatives_of_a_sample_of_its_own_travel_with_its_record(tmp_path: Path) -> None:
    items = prepared(CITIES[:1])
    call = {"name": "get_time", "arguments": {"city": "Roma"}, "alternatives": {"city": ["Rome"]}}
    sample = replace(items[0].sample, own_truth=GroundTruth.of([call]))
    done = run(
        FakeSource(lambda task: called("Rome")),
        items=[replace(items[0], sample=sample)],
    )
    assert done.records[0]["verdict"]["scores"]["call_recall"] == 1.0
    write_evaluation(tmp_path, done.records, model_name="m")
    again = rescore_records(load_evaluation(tmp_path), ScoringOptions())
    assert again == done.records


def test_calls_that_a_server_parsed_are_taken_until_a_parser_is_named() -> None:
    done = run(FakeSource(lambda task: "nothing"))
    question, output = split_record(done.records[0])
    right_call = ParsedToolCall("get_time", question["gt_tool_calls"][0]["arguments"])
    served = replace(output, calls=(right_call, replace(right_call, name="who_knows")))
    (record,) = score_outputs([question], {served.key: served})
    assert record["parsed_as"] == "server"
    assert [call["status"] for call in record["calls"]] == ["ok", "unknown_tool"]
    (again,) = rescore_records([record], ScoringOptions(parser="hermes"))
    assert again["calls"] == []
    (back,) = rescore_records([again], ScoringOptions())
    assert back == record


@pytest.mark.parametrize(
    "wrong", [{"parser": "nope"}, {"mode": "nope"}, {"matching": "nope"}], ids=str
)
def test_ways_of_scoring_that_do_not_exist_are_refused(wrong: Any) -> None:
    with pytest.raises(UserError, match=r"'nope'[\s\S]*use one of"):
        ScoringOptions(**wrong)


@pytest.mark.parametrize("wrong", [{"repeats": 2}, {"repeats": 0}, {"max_new_tokens": 0}], ids=str)
def test_options_that_make_no_sense_are_refused(wrong: Any) -> None:
    with pytest.raises(UserError):
        EvalOptions(**wrong)


class Stubborn:
    """`generate` that answers prompts in turn, and fails on those with Lima in them."""

    def generate(self, *, input_ids: Any, max_new_tokens: int, **_: Any) -> Any:
        import torch

        if "Lima" in "".join(chr(i) for i in input_ids[0].tolist()):
            raise RuntimeError("broken\nin two lines")
        return torch.cat([input_ids, torch.tensor([[ord("x")]])], dim=1)


def source_of(model: Any, tokenizer: Any) -> Any:
    return model_source(model, tokenizer, stop_ids=frozenset({0}), max_new_tokens=4)


def test_one_bad_sample_costs_no_other_and_says_why() -> None:
    done = run(source_of(Stubborn(), LetterTokenizer()))
    reasons = [record["skip_reason"] for record in done.records]
    assert reasons == [None, None, "generate_error_RuntimeError", None]
    assert done.records[2]["detail"] == "broken"
    assert done.generated == 3


def test_a_tokenizer_that_cannot_decode_skips_the_sample() -> None:
    class Mute(LetterTokenizer):
        def decode(self, ids: Any, *, skip_special_tokens: bool) -> str:
            raise OverflowError

    done = run(source_of(Stubborn(), Mute()), cities=CITIES[:2])
    assert {record["skip_reason"] for record in done.records} == {"decode_error_OverflowError"}


def test_an_output_that_cannot_be_kept_ends_the_evaluation_and_is_no_failure_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append, failures = OutputLog.append, iter([OSError(28, "No space left on device")])

    def full_for_a_moment(self: OutputLog, output: Any) -> None:
        for failure in failures:
            raise failure
        append(self, output)

    monkeypatch.setattr(OutputLog, "append", full_for_a_moment)
    with pytest.raises(OSError, match="No space left"):
        run(source_of(Stubborn(), LetterTokenizer()), GREEDY, tmp_path)
