"""What a run needs on so many GPUs, and advice that comes true when it is followed."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.sizing.test_memory import config_of, configs, known, models
from tooltune.config.load import load_config
from tooltune.config.schema import Config
from tooltune.models.shapes import ModelShape
from tooltune.train.batches import CUDA_COST
from tooltune.train.sizing.advice import advised_changes, memory_advice, mesh_problem
from tooltune.train.sizing.memory import ASSUMED_TOKENS, GIB, Batch, estimate_memory
from tooltune.train.sizing.scale import assumed_workload, describe_scale, fitting_cost

BASE: dict[str, Any] = {"model": "me/model", "dataset": {"path": "traces.jsonl"}}


def followed(config: Config, options: str) -> tuple[Config, int | None]:
    """The config that `options` of a command line make of `config`, and its number of GPUs."""
    words = options.split(" on each of ")
    gpus: int | None = None
    overrides = []
    arguments = iter(shlex.split(words[0]))
    for word in arguments:
        if word == "--nproc-per-node":
            gpus = int(next(arguments))
        else:
            overrides.append(word)
    if len(words) > 1 and gpus is not None:
        gpus *= int(words[1].split()[0])
    return load_config(None, overrides, base=config.resolved()), gpus


@given(configs(), models, st.sampled_from([1, 2, 8]), st.sampled_from([23.5, 79.1]))
def test_every_change_does_what_it_says_when_it_is_made(
    config: Config, shape: ModelShape, gpus: int, gib: float
) -> None:
    batch = Batch(6000, 1500)
    changes = advised_changes(config, shape, gpus, batch, gib * GIB)
    assert len({change.fits for change in changes}) <= 1, "those that fit, or none"
    for change in changes:
        changed, count = followed(config, change.options)
        again = estimate_memory(changed, shape, count or gpus, batch)
        assert again.total == pytest.approx(change.estimate.total)
        assert change.fits == (again.total <= gib * GIB)


def test_the_advice_names_what_is_needed_and_what_would_fit() -> None:
    shape, config = known("Qwen2.5-3B"), config_of()
    batch, gpu = Batch(9000, 2000), 79.1 * GIB
    now = estimate_memory(config, shape, 1, batch)
    advice = memory_advice(config, shape, 1, gpu, batch).splitlines()
    assert f"9,000 tokens takes about {now.total / GIB:.1f} GiB" in advice[0]
    assert "has 79.1" in advice[0]
    assert "activations" in advice[0]
    assert advice[1].startswith("--step_scheduler.local_batch_size=1")
    assert f"{now.tokens_within(gpu):,} tokens" in advice[1]
    assert any(line.startswith("--model.activation_checkpointing=full: ") for line in advice)
    assert any(line.startswith("--nproc-per-node 2: ") for line in advice)
    assert not any("still too much" in line for line in advice)
    assert memory_advice(config, shape, 1, gpu).startswith("a micro-batch of 4,096 tokens")


def test_where_nothing_fits_it_says_by_how_much() -> None:
    shape = known("Qwen2.5-72B")
    advice = memory_advice(config_of(), shape, 1, 8 * GIB, Batch(9000, 2000))
    assert "still too much" in advice
    assert "local_batch_size" not in advice


def test_several_machines_are_counted() -> None:
    changes = advised_changes(config_of(), known("Llama-3.1-70B"), 8, Batch(4000, 1000), 79 * GIB)
    more = [change for change in changes if "--nproc-per-node" in change.options]
    assert more[0].options.endswith("--nproc-per-node 8 on each of 4 machines")
    assert more[0].estimate.gpus == 32


@pytest.mark.parametrize(
    ("sections", "gpus", "said"),
    [
        ({"distributed": {"strategy": "none"}}, 2, "strategy"),
        ({"distributed": {"dp_replicate_size": 4}}, 6, "dp_replicate_size"),
        ({"distributed": {"dp_replicate_size": 8}}, 8, "dp_replicate_size"),
        ({"distributed": {"strategy": "ddp", "dp_replicate_size": 2}}, 4, "dp_replicate_size"),
        ({"peft": {"dim": 8, "quantization": "nf4"}}, 2, "quantization"),
    ],
)
def test_a_number_of_gpus_without_a_place_is_told_with_its_fix(
    sections: dict[str, Any], gpus: int, said: str
) -> None:
    config = config_of(**sections)
    problem = mesh_problem(config, gpus)
    assert problem is not None
    assert said in problem.message
    assert problem.fix
    (described,) = describe_scale(config, known("Qwen2.5-3B"), [gpus], assumed_workload(config))[
        "gpus"
    ]
    assert described == {"gpus": gpus, "problem": problem.message, "fix": problem.fix}


@pytest.mark.parametrize("strategy", ["fsdp2", "ddp", "none"])
def test_one_gpu_always_has_a_place(strategy: str) -> None:
    assert mesh_problem(config_of(distributed={"strategy": strategy}), 1) is None


def test_the_sequence_length_is_the_configs_or_assumed_and_said() -> None:
    given_length = assumed_workload(config_of(dataset={"seq_length": 999, "filter_overlong": True}))
    assert given_length.batch.tokens == 999
    assert "seq_length" in given_length.why
    assumed = assumed_workload(config_of())
    assert assumed.batch.tokens == ASSUMED_TOKENS
    assert "assumed" in assumed.why


def test_more_gpus_than_traces_of_a_step_are_idle() -> None:
    config = config_of(step_scheduler={"global_batch_size": 6})
    described = describe_scale(config, known("Qwen2.5-3B"), [4, 8], assumed_workload(config))
    assert [one["idle_gpus"] for one in described["gpus"]] == [0, 2]


@given(configs(), models, st.sampled_from([1, 8]))
def test_the_packer_makes_no_batch_that_does_not_fit(
    config: Config, shape: ModelShape, gpus: int
) -> None:
    cost = fitting_cost(CUDA_COST, config, shape, gpus, 79 * GIB)
    assert 1 <= cost.max_tokens <= CUDA_COST.max_tokens
    largest = estimate_memory(config, shape, gpus, Batch(cost.max_tokens, cost.max_tokens // 4))
    assert cost.max_tokens == 1 or largest.total <= 79 * GIB * 1.001
