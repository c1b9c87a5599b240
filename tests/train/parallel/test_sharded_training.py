"""Several ranks train as one: the same losses and weights, whatever is sharded or copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ranks import results_of
from tests.train.tiny_run import save_tiny_model, tiny_config, write_traces
from tooltune.config.schema import Config
from tooltune.models.load import load_tokenizer
from tooltune.train.batches import cost_model, step_plan
from tooltune.train.data import prepare_data
from tooltune.train.optim import learning_rate
from tooltune.train.parallel.shard import is_sharded_model, whole
from tooltune.train.parallel.world import World
from tooltune.train.step import train_step
from tooltune.train.trainee import build_trainee

STEPS = 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, builtin_tokenizer: Any) -> Path:
    directory = tmp_path_factory.mktemp("sharded")
    save_tiny_model(directory / "model", builtin_tokenizer)
    write_traces(directory / "traces.jsonl", 10)
    return directory


def config_of(place: Path, strategy: str, **sections: Any) -> Config:
    distributed = {"strategy": strategy, **sections.pop("distributed", {})}
    model = sections.pop("model", {})
    config = tiny_config(
        place / "model",
        place / "traces.jsonl",
        place / "run",
        distributed=distributed,
        validation_dataset={"fraction": 0.2},
        # AdamW divides by the size of a gradient: where that is next to nothing, rounding alone
        # would decide the update. A larger eps leaves such weights where they are.
        optimizer={"lr": 1e-3, "eps": 1e-5},
        **sections,
    )
    return config.model_copy(update={"model": config.model.model_copy(update=model)})


def trained(world: World, config: Config) -> tuple[list[float], list[float], dict[str, Any], bool]:
    """Losses, gradient norms and weights after a few steps, and whether weights were sharded."""
    tokenizer = load_tokenizer(config.model.pretrained_model_name_or_path)
    data = prepare_data(config, tokenizer, date="2026-01-31")
    trainee = build_trainee(config, tokenizer, world)
    plan = step_plan(config, len(data.train))
    losses, norms = [], []
    for step in range(STEPS):
        result = train_step(
            trainee,
            [data.train[i] for i in plan.traces(step)],
            number=step + 1,
            lr=learning_rate(step, STEPS, lr=config.optimizer.lr),
            max_grad_norm=config.optimizer.max_grad_norm,
            max_traces=config.step_scheduler.local_batch_size,
            cost=cost_model("cpu"),
        )
        assert result is not None
        losses.append(result.loss)
        norms.append(result.grad_norm)
    weights = {
        name: whole(parameter.detach()).numpy().copy()
        for name, parameter in trainee.masters.parameters().items()
    }
    return losses, norms, weights, is_sharded_model(trainee.model)


VARIANTS: dict[str, dict[str, Any]] = {
    "full": {"step_scheduler": {"global_batch_size": 4, "num_epochs": 4}},
    "lora": {
        "step_scheduler": {"global_batch_size": 4, "num_epochs": 4},
        "peft": {"dim": 4},
    },
    "accumulation": {
        # 7 and 1 traces a step: ranks with unequal numbers of micro-batches, and with none
        "step_scheduler": {"global_batch_size": 7, "num_epochs": 3, "local_batch_size": 1},
    },
}
SHARINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "fsdp2": (2, {}),
    "fsdp2 on 3": (3, {}),
    "fsdp2 without resharding": (2, {"reshard_after_forward": False}),
    "hsdp": (4, {"dp_replicate_size": 2}),
    "ddp": (2, {}),
}


QUICK = {
    *(("fsdp2", variant) for variant in VARIANTS),
    *(("fsdp2 on 3", "accumulation"), ("hsdp", "lora"), ("ddp", "full"), ("ddp", "accumulation")),
}
EACH = [
    pytest.param(sharing, variant, marks=() if (sharing, variant) in QUICK else pytest.mark.slow)
    for sharing in SHARINGS
    for variant in VARIANTS
]


@pytest.mark.parametrize(("sharing", "variant"), EACH)
def test_losses_and_weights_are_those_of_one_process(
    sharing: str, variant: str, place: Path
) -> None:
    size, settings = SHARINGS[sharing]
    strategy = "ddp" if sharing == "ddp" else "fsdp2"
    config = config_of(place, strategy, distributed=settings, **VARIANTS[variant])
    alone = config_of(place, "none", **VARIANTS[variant])
    losses, norms, weights, _ = trained(World.alone(torch.device("cpu")), alone)
    for theirs in results_of(trained, size, config):
        their_losses, their_norms, their_weights, is_sharded = theirs
        assert is_sharded == (strategy == "fsdp2")
        assert their_losses == pytest.approx(losses, abs=1e-5)
        assert their_norms == pytest.approx(norms, rel=1e-3)
        assert sorted(their_weights) == sorted(weights)
        for name, weight in weights.items():
            assert their_weights[name] == pytest.approx(weight, abs=1e-5), name


def test_training_moves_the_weights_that_are_compared(place: Path) -> None:
    config = config_of(place, "fsdp2", **VARIANTS["full"])
    alone = World.alone(torch.device("cpu"))
    before = build_trainee(
        config, load_tokenizer(config.model.pretrained_model_name_or_path), alone
    ).masters.parameters()
    _, _, after, _ = trained(alone, config)
    moved = [abs(after[name] - p.detach().numpy()).max() for name, p in before.items()]
    assert min(moved) > 1e-4  # ten times what the comparison allows


def test_a_rank_without_a_trace_keeps_pace(place: Path) -> None:
    steps = {"global_batch_size": 1, "num_epochs": 2}
    config = config_of(place, "fsdp2", step_scheduler=steps)
    losses, _, _, _ = trained(World.alone(torch.device("cpu")), config)
    for their_losses, *_ in results_of(trained, 2, config):
        assert their_losses == pytest.approx(losses, abs=1e-5)


def test_in_bf16_sharded_weights_keep_fp32_masters(place: Path) -> None:
    config = config_of(place, "fsdp2", dtype="bfloat16", **VARIANTS["full"])
    losses, _, weights, _ = trained(World.alone(torch.device("cpu")), config)
    their_losses, _, their_weights, _ = results_of(trained, 2, config)[0]
    assert their_losses == pytest.approx(losses, rel=2e-2)
    for name, weight in their_weights.items():
        assert weight.dtype == "float32"
        assert weight == pytest.approx(weights[name], abs=2e-2), name


def _refusal(world: World, config: Config) -> str:
    tokenizer = load_tokenizer(config.model.pretrained_model_name_or_path)
    with pytest.raises(ValueError) as caught:
        build_trainee(config, tokenizer, world)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"strategy": "none"}, "2 processes were started"),
        ({"strategy": "fsdp2", "dp_replicate_size": 2}, "at least 4"),
        ({"strategy": "ddp", "dp_replicate_size": 2}, "is for fsdp2"),
    ],
)
def test_processes_that_have_no_place_are_refused(
    settings: dict[str, Any], said: str, place: Path
) -> None:
    config = config_of(place, settings["strategy"], distributed=settings)
    for message in results_of(_refusal, 2, config):
        assert said in message


def test_what_cannot_be_loaded_ends_every_rank(place: Path, tmp_path: Path) -> None:
    config = config_of(place, "fsdp2", peft={"target_modules": ["nothing_like_it"]})
    for message in results_of(_refusal, 2, config):
        assert "nothing_like_it" in message
