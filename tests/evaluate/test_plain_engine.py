"""Any object that can generate, or only give logits, can be evaluated."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tooltune.evaluate.engines import Counters, Request, Sampling, generate_plain, pick_engine

STOPS = frozenset({2, 3})


class OnlyGenerate:
    """Has `.generate` with exactly the contract's keyword arguments, and nothing else."""

    def __init__(self, answer: list[int]) -> None:
        self.answer = answer
        self.seen: list[dict[str, Any]] = []

    def generate(
        self,
        *,
        input_ids: Tensor,
        attention_mask: Tensor,
        max_new_tokens: int,
        do_sample: bool,
        pad_token_id: int,
    ) -> Tensor:
        self.seen.append(dict(locals()))
        new = torch.tensor([self.answer[:max_new_tokens]], dtype=torch.int64)
        return torch.cat([input_ids, new], dim=1)


class OnlyForward:
    """Gives logits in which each token is followed by the one 5 above it, modulo 16."""

    def forward(self, input_ids: Tensor) -> Any:
        return SimpleNamespace(logits=torch.eye(16)[(input_ids + 5) % 16])


class ModuleWithForward(torch.nn.Module):
    """The same as a module with dropout, whose forward wants the attention mask."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.masks: list[Tensor] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        self.masks.append(attention_mask)
        assert not self.training
        assert not torch.is_grad_enabled()
        return SimpleNamespace(logits=torch.eye(16)[(input_ids + 5) % 16] * self.scale)


def _run(model: Any, *prompts: tuple[int, ...], seed: int = 0, **options: Any) -> list[Any]:
    options = {"stop_ids": STOPS, "max_new_tokens": 6, "pad_token_id": 0, **options}
    return generate_plain(model, [Request(prompt, seed=seed) for prompt in prompts], **options)


def test_generate_is_called_once_a_request_with_exactly_the_contracts_arguments() -> None:
    model = OnlyGenerate([7, 8, 2])
    out = _run(model, (4, 5, 6), (9,), pad_token_id=11)
    assert [generation.token_ids for generation in out] == [(7, 8, 2), (7, 8, 2)]
    first, second = model.seen
    assert first["input_ids"].tolist() == [[4, 5, 6]]
    assert first["attention_mask"].tolist() == [[1, 1, 1]]
    assert second["input_ids"].tolist() == [[9]]
    assert (first["max_new_tokens"], first["do_sample"], first["pad_token_id"]) == (6, False, 11)


def test_what_follows_the_first_stop_token_is_cut() -> None:
    (generation,) = _run(OnlyGenerate([7, 3, 0, 0]), (4, 5))
    assert generation.token_ids == (7, 3)
    assert generation.finish_reason == "stop"


def test_a_full_budget_without_a_stop_token_is_a_truncation() -> None:
    (generation,) = _run(OnlyGenerate([7] * 20), (4, 5))
    assert generation.token_ids == (7,) * 6
    assert generation.finish_reason == "length"


def test_a_model_that_ends_before_its_budget_has_stopped() -> None:
    (generation,) = _run(OnlyGenerate([7, 8]), (4, 5))
    assert generation.finish_reason == "stop"


def test_an_object_with_only_forward_decodes_greedily() -> None:
    (generation,) = _run(OnlyForward(), (4,))  # 4, 9, 14, 3
    assert generation.token_ids == (9, 14, 3)
    assert generation.finish_reason == "stop"
    (generation,) = _run(OnlyForward(), (4,), max_new_tokens=2)
    assert generation.token_ids == (9, 14)
    assert generation.finish_reason == "length"


def test_a_forward_that_takes_an_attention_mask_gets_one() -> None:
    model = ModuleWithForward()
    (generation,) = _run(model, (1, 4))
    assert generation.token_ids == (9, 14, 3)
    assert [mask.tolist() for mask in model.masks] == [[[1] * n] for n in (2, 3, 4)]
    assert model.training


def test_a_draft_is_no_part_of_plain_generation() -> None:
    out = generate_plain(
        OnlyForward(), [Request((4,), (1, 1, 1))], stop_ids=STOPS, max_new_tokens=6
    )
    assert out[0].token_ids == (9, 14, 3)
    assert out[0].teacher_forced_exact is None


class Uniform:
    def forward(self, input_ids: Tensor) -> Any:
        return SimpleNamespace(logits=torch.zeros(1, input_ids.shape[1], 16))


def test_sampling_is_seeded_by_prompt_and_leaves_the_generator_alone() -> None:
    before = torch.get_rng_state()
    prompts = [(4,), (5,), (6,), (7,)]
    options: dict[str, Any] = {"sampling": Sampling(), "stop_ids": frozenset()}
    out = _run(Uniform(), *prompts, **options)
    assert torch.equal(torch.get_rng_state(), before)
    assert out[::-1] == _run(Uniform(), *prompts[::-1], **options)
    other = generate_plain(
        Uniform(), [Request(prompt, seed=1) for prompt in prompts], max_new_tokens=6, **options
    )
    assert out != other
    assert len({generation.token_ids for generation in out}) == 4


def test_do_sample_reaches_generate() -> None:
    model = OnlyGenerate([2])
    _run(model, (4,), sampling=Sampling())
    assert model.seen[0]["do_sample"] is True


def test_what_sampling_has_beside_its_defaults_reaches_generate() -> None:
    seen: list[dict[str, Any]] = []

    class Sampler(OnlyGenerate):
        def generate(
            self, *, temperature: float = -1.0, top_p: float = -1.0, **rest: Any
        ) -> Tensor:
            seen.append({"temperature": temperature, "top_p": top_p, **rest})
            return super().generate(**rest)

    _run(Sampler([2]), (4,), sampling=Sampling(temperature=0.5))
    assert (seen[0]["temperature"], seen[0]["top_p"], seen[0]["do_sample"]) == (0.5, -1.0, True)


def test_each_request_is_handed_over_as_soon_as_it_is_finished() -> None:
    seen: list[Any] = []
    out = _run(OnlyForward(), (4,), (5,), on_output=lambda i, g: seen.append((i, g)))
    assert seen == list(enumerate(out))


def test_what_the_object_raises_goes_to_the_caller() -> None:
    class Broken:
        def generate(self, **_: Any) -> Tensor:
            raise RuntimeError("no such kernel")

    with pytest.raises(RuntimeError, match="no such kernel"):
        _run(Broken(), (4,))


def test_counters_and_progress_are_kept() -> None:
    counters, seen = Counters(), []
    _run(
        OnlyGenerate([7, 2]),
        (4,),
        (5,),
        counters=counters,
        on_progress=lambda n, of: seen.append((n, of)),
    )
    assert (counters.requests, counters.decode_tokens) == (2, 4)
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize("model", [OnlyGenerate([2]), OnlyForward(), ModuleWithForward()])
def test_the_plain_engine_is_picked_for_other_objects(model: Any) -> None:
    assert pick_engine(model) is generate_plain
