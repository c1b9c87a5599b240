"""What a config file means once loaded: defaults, overrides, sources, and the way back to text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.assets import REPOSITORY
from tooltune.config import Config, config_difference, dump_config, load_config
from tooltune.errors import UserError

Write = Callable[[str], Path]
MINIMAL: dict[str, Any] = {"model": "some/model", "dataset": {"path": "traces.jsonl"}}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_text(text: str) -> Path:
        path = tmp_path / "tuning.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_text


# Properties ---------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
awkward = st.sampled_from(
    ["1e-5", "010", "1:30", "2024-01-01", "null", "yes", "~", "1_000", "12e4"]
)
words = texts | awkward
counts = st.integers(1, 10**9)
positive = st.floats(1e-12, 1e6, exclude_min=True)
sources = st.one_of(
    st.fixed_dictionaries({"path": words | st.lists(words, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"dataset_name": words}, optional={"revision": words}),
)
configs = st.fixed_dictionaries(
    {"model": words, "dataset": sources},
    optional={
        "validation_dataset": st.none() | st.just({"fraction": 0.3}) | sources,
        "tool_call_eval": st.fixed_dictionaries(
            {"enabled": st.booleans(), "max_new_tokens": counts},
            optional={"extra_datasets": st.dictionaries(st.just("unseen"), sources)},
        ),
        "optimizer": st.fixed_dictionaries({"lr": positive, "eps": positive}),
        "peft": st.none()
        | st.fixed_dictionaries({"dim": counts, "target_modules": st.just(["q"])}),
        "seed": st.integers(0, 2**32 - 1),
        "output_dir": words,
    },
)


def attempt(values: dict[str, Any], *overrides: str) -> Config | str:
    """The config, or what the error says."""
    try:
        return load_config(None, overrides, base=values)
    except UserError as error:
        return str(error)


@settings(max_examples=60)
@given(values=configs)
def test_a_dumped_config_loads_as_the_same_config(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    config = attempt(values)
    if isinstance(config, str):
        # The same source drawn twice, or no validation traces to evaluate on.
        assert "shares rows" in config or "it uses the validation traces" in config
        return
    path = tmp_path_factory.mktemp("dump") / "config.yaml"
    path.write_bytes(dump_config(config).encode())
    again = load_config(path)
    assert again == config
    assert config_difference(config.resolved(), again.resolved()) == []
    assert dump_config(again) == dump_config(config)


@given(value=st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_on_the_command_line_keeps_its_value(value: float) -> None:
    overrides = [f"--model.chat_template_kwargs.x={value!r}"]
    found = load_config(None, overrides, base=MINIMAL).model.chat_template_kwargs["x"]
    assert type(found) is type(value)
    assert found == value


@given(value=texts.filter(lambda text: text[0] not in "[{'\""))
def test_a_path_on_the_command_line_is_taken_as_it_is_or_refused(value: str) -> None:
    config = attempt(MINIMAL, f"--dataset.path={value}")
    if isinstance(config, str):  # 7, true, null
        assert "must be text" in config or "does not say where" in config
    else:
        assert config.dataset.path == value


# Defaults -----------------------------------------------------------------------------------


def test_three_lines_are_a_complete_config(write: Write) -> None:
    config = load_config(write("model: some/model\ndataset: {path: F}\npeft: {dim: 16}\n"))
    assert config.model.pretrained_model_name_or_path == "some/model"
    assert config.dataset.path == "F"
    assert config.output_dir == "runs/tuning"
    assert config.validation_dataset is not None
    assert config.validation_dataset.fraction == 0.1
    assert config.peft is not None
    assert (config.peft.alpha, config.peft.target_modules) == (16, "all-linear")


@pytest.mark.parametrize(
    ("peft", "expected"),
    [("null", 1e-5), ("{dim: 4}", 2e-4), ("{}", 2e-4), ("{dropout: 0.1}", 2e-4)],
)
def test_the_default_learning_rate_depends_on_peft(
    write: Write, peft: str, expected: float
) -> None:
    config = load_config(write(f"model: m\ndataset: {{path: F}}\npeft: {peft}\n"))
    assert config.optimizer.lr == expected


def test_alpha_follows_dim_unless_it_is_given() -> None:
    for overrides, alpha in ((["--peft.dim=8"], 8), (["--peft.dim=8", "--peft.alpha=32"], 32)):
        peft = load_config(None, overrides, base=MINIMAL).peft
        assert peft is not None
        assert peft.alpha == alpha


def test_a_section_left_empty_means_its_defaults(write: Write) -> None:
    config = load_config(write("model: m\ndataset: {path: F}\noptimizer:\n  # lr: 1\nlog:\n"))
    assert config.optimizer.lr == 1e-5
    assert config.log.every_steps == 1


def test_validation_can_be_turned_off() -> None:
    overrides = ["--validation_dataset=null", "--tool_call_eval.enabled=false"]
    assert load_config(None, overrides, base=MINIMAL).validation_dataset is None


@pytest.mark.parametrize("written", ["1e-5", "'1e-5'", "0.00001", "1E-05", "1.0e-5"])
def test_a_float_is_read_however_people_write_it(write: Write, written: str) -> None:
    config = load_config(write(f"model: m\ndataset: {{path: F}}\noptimizer: {{lr: {written}}}\n"))
    assert config.optimizer.lr == 1e-5


@pytest.mark.parametrize("revision", ["2024-01-01", "1:30", "0x10", "v1"])
def test_text_that_only_looks_like_a_date_or_time_stays_text(write: Write, revision: str) -> None:
    config = load_config(write(f"model: m\ndataset: {{dataset_name: D, revision: {revision}}}\n"))
    assert config.dataset.revision == revision


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbfmodel: m\ndataset: {path: F}\n")
    assert load_config(path).output_dir == "runs/bom"


def test_a_config_cannot_be_changed() -> None:
    config = load_config(None, base=MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1  # type: ignore[misc]


# Overrides ----------------------------------------------------------------------------------


def test_overrides_win_over_the_file_and_the_file_over_the_base(write: Write) -> None:
    path = write("step_scheduler: {num_epochs: 2, global_batch_size: 4}\n")
    base = {**MINIMAL, "step_scheduler": {"num_epochs": 1, "max_steps": 7}}
    config = load_config(path, ["--step_scheduler.num_epochs=3"], base=base)
    steps = config.step_scheduler
    assert (steps.num_epochs, steps.global_batch_size, steps.max_steps) == (3, 4, 7)


@pytest.mark.parametrize(
    "overrides",
    [
        ["--optimizer.lr=3e-4"],
        ["--optimizer.lr", "3e-4"],
        ["optimizer.lr=3e-4"],
        ["--optimizer={lr: 3e-4}"],
        ["--optimizer.lr=1", "--optimizer.lr=3e-4"],
    ],
)
def test_an_override_may_be_written_in_several_ways(overrides: list[str]) -> None:
    assert load_config(None, overrides, base=MINIMAL).optimizer.lr == 3e-4


def test_an_override_may_hold_an_equals_sign_and_a_list() -> None:
    overrides = ["--dataset.path=[a=b.jsonl, c.jsonl]", "--optimizer.betas", "[0.8, 0.9]"]
    config = load_config(None, overrides, base=MINIMAL)
    assert config.dataset.path == ("a=b.jsonl", "c.jsonl")
    assert config.optimizer.betas == (0.8, 0.9)


@pytest.mark.parametrize("order", [["--model=b", "--model.dtype=float32"], None])
def test_the_name_of_the_model_is_overridden_beside_its_other_keys(order: list[str] | None) -> None:
    overrides = order or ["--model.dtype=float32", "--model=b"]
    model = load_config(None, overrides, base=MINIMAL).model
    assert (model.pretrained_model_name_or_path, model.dtype) == ("b", "float32")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stray"], "no override"),
        (["--optimizer.lr"], "has no value"),
        (["--dataset.shuffle", "--seed=1"], "has no value"),
        (["--optimizer..lr=1"], "names no key"),
    ],
)
def test_an_argument_that_is_no_override_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(None, arguments, base=MINIMAL)


# Sources ------------------------------------------------------------------------------------

HUB = "{dataset_name: D, revision: r, split: 'train[:9]', limit_dataset_samples: 5}"


def test_an_override_of_path_replaces_the_name_and_the_reverse(write: Write) -> None:
    path = write(f"model: m\ndataset: {HUB}\n")
    dataset = load_config(path, ["--dataset.path=F"]).dataset
    assert (dataset.path, dataset.dataset_name, dataset.revision) == ("F", None, None)
    assert (dataset.split, dataset.limit_dataset_samples) == ("train[:9]", 5)
    again = load_config(None, ["--dataset.dataset_name=E"], base=MINIMAL).dataset
    assert (again.path, again.dataset_name) == (None, "E")


@pytest.mark.parametrize("section", ["validation_dataset", "tool_call_eval"])
def test_sources_of_validation_and_evaluation_are_replaced_too(write: Write, section: str) -> None:
    path = write(f"model: m\ndataset: {{path: F}}\n{section}: {HUB}\n")
    found = load_config(path, [f"--{section}.path=G"]).resolved()[section]
    assert (found["path"], found["dataset_name"]) == ("G", None)


def test_a_held_out_fraction_and_a_source_replace_each_other(write: Write) -> None:
    path = write(f"model: m\ndataset: {{path: F}}\nvalidation_dataset: {HUB}\n")
    held_out = load_config(path, ["--validation_dataset.fraction=0.5"]).validation_dataset
    assert held_out is not None
    assert (held_out.fraction, held_out.dataset_name, held_out.split) == (0.5, None, "train")
    own = load_config(None, ["--validation_dataset.path=G"], base=MINIMAL).validation_dataset
    assert own is not None
    assert (own.path, own.fraction) == ("G", None)


def test_several_sources_are_read_as_they_are_written(write: Write) -> None:
    config = load_config(
        write(
            """
model: m
seed: 7
dataset:
  sources:
  - {path: "logs/*.jsonl", weight: 3, columns: {messages: log}, where: {score: ">=0.5"}}
  - {dataset_name: D, revision: r, streaming: true, weight: 1, group_by: session}
  - {path: [A, B], count: 500, weight_by: reward}
  deduplicate: weight
"""
        )
    )
    source = config.dataset.trace_source(config.seed)
    logs, hub, files = source.sources
    assert (source.seed, source.deduplicate, source.stitch) == (7, "weight", None)
    assert (logs.paths, logs.weight, logs.columns) == (("logs/*.jsonl",), 3, (("messages", "log"),))
    assert [str(condition) for condition in logs.where] == ["score: >=0.5"]
    assert (hub.dataset_name, hub.revision, hub.streaming, hub.group_by) == (
        "D",
        "r",
        True,
        "session",
    )
    assert (files.paths, files.count, files.weight_by, files.seed) == (("A", "B"), 500, "reward", 7)
    again = load_config(write(dump_config(config)))
    assert again.dataset == config.dataset


def test_several_sources_and_one_replace_each_other(write: Write) -> None:
    path = write("model: m\ndataset: {path: F, where: {a: 1}, split: 'train[:9]'}\n")
    several = load_config(path, ["--dataset.sources=[{path: G}, {path: H}]"]).dataset
    assert (several.path, several.where, several.split, len(several.sources)) == (
        None,
        {},
        "train",
        2,
    )
    path = write("model: m\ndataset: {sources: [{path: G}], deduplicate: drop}\n")
    one = load_config(path, ["--dataset.path=F"]).dataset
    assert (one.path, one.sources, one.deduplicate) == ("F", (), "drop")


# Differences and examples -------------------------------------------------------------------


def test_a_difference_names_each_key_with_both_values() -> None:
    one = load_config(None, base=MINIMAL).resolved()
    other = load_config(None, ["--peft.dim=4", "--seed=1"], base=MINIMAL).resolved()
    found = config_difference(one, other)
    assert "seed: 0 -> 1" in found
    assert "optimizer.lr: 1e-05 -> 0.0002" in found
    assert any(line.startswith("peft: null -> ") for line in found)
    assert len(found) == 3
    assert config_difference({"a": 1}, {}) == ["a: 1 -> (absent)"]
    assert config_difference({"a": 1}, {"a": True}) == ["a: 1 -> true"]


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "examples").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_example_loads_and_measures_on_held_out_traces(path: Path) -> None:
    config = load_config(path, ["--dataset.path=traces.json"])
    assert load_config(path).output_dir == f"runs/{path.stem}"
    assert config.dataset.path == "traces.json"
    assert config.validation_dataset is not None
    assert config.validation_dataset.fraction is not None
    assert config.tool_call_eval.enabled


def test_there_are_examples() -> None:
    assert len(list((REPOSITORY / "examples").glob("*.yaml"))) >= 3
