from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch._dynamo.utils import counters

from tests.models.families import family_model
from tests.models.tiny import a_forest, path_lists
from tooltune.errors import UserError
from tooltune.models.forest_forward import flat_logits, forest_logits
from tooltune.render.forest import TokenForest, merge_paths
from tooltune.train import compile as compile_module
from tooltune.train.activation import apply_activation_checkpointing
from tooltune.train.compile import compile_blocks
from tooltune.train.lora import add_lora

IDS = torch.arange(3, 12)[None]


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def gradients(model: Any, forest: TokenForest) -> dict[str, torch.Tensor]:
    model.train()
    model.zero_grad()
    torch.manual_seed(2)
    forest_logits(model, forest)[0].square().mean().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def forests(n: int) -> list[TokenForest]:
    """`n` forests with other lengths, forks and numbers of segments each."""
    made = []
    for i in range(n):
        stem = list(range(1, 4 + 2 * i))
        made.append(
            merge_paths([([*stem, 40 + k], [50 + k, 51 + k], [1.0, 1.0]) for k in range(2 + i % 4)])
        )
    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "selective", "full"])
def test_compiled_blocks_give_the_same_gradients(kind: Any) -> None:
    model = add_lora(family_model("llama"), dim=4, alpha=8, dropout=0.0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    names = list(model.state_dict())
    plain = [gradients(model, forest) for forest in forests(3)]
    apply_activation_checkpointing(model, kind)
    compile_blocks(model)
    assert list(model.state_dict()) == names
    for forest, expected in zip(forests(3), plain, strict=True):
        torch.testing.assert_close(gradients(model, forest), expected, rtol=1e-4, atol=1e-6)
    assert counters["stats"]["unique_graphs"] > 0, "nothing was compiled"


@pytest.mark.slow
def test_a_new_batch_does_not_compile_anew() -> None:
    model = add_lora(family_model("qwen3"), dim=4, alpha=8)
    compile_blocks(model, backend="eager")
    first, *others = forests(12)
    for forest in (first, others[0]):
        gradients(model, forest)
    compiled = counters["stats"]["unique_graphs"]
    assert compiled > 0
    with torch._dynamo.config.patch(error_on_recompile=True):
        for forest in others[1:]:
            gradients(model, forest)
    assert counters["stats"]["unique_graphs"] == compiled


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setattr(compile_module.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match=r"C\+\+ compiler(?s:.*)apt install g\+\+"):
        compile_blocks(family_model("llama"))


def test_evaluation_compiles_nothing() -> None:
    model = family_model("llama")
    expected = model.generate(IDS, max_new_tokens=5, do_sample=False)
    compile_blocks(model, backend="eager")
    assert torch.equal(model.generate(IDS, max_new_tokens=5, do_sample=False), expected)
    assert counters["stats"]["unique_graphs"] == 0
    model.train()
    model(IDS)
    assert counters["stats"]["unique_graphs"] > 0


@pytest.mark.slow
def test_compiled_blocks_compute_any_forest() -> None:
    model = family_model("llama").train()
    plain = family_model("llama").train()
    compile_blocks(model, backend="eager")

    @given(paths=path_lists())
    @settings(max_examples=25, deadline=None)
    def same(paths: Any) -> None:
        forest = merge_paths(paths)
        expected, rows = flat_logits(plain, forest)
        logits, again = forest_logits(model, forest)
        torch.testing.assert_close(logits[again], expected[rows], rtol=1e-4, atol=1e-4)

    same()
    assert counters["stats"]["unique_graphs"] < 30


def test_the_mark_on_attention_changes_nothing_without_compilation() -> None:
    model = family_model("llama")
    forest, _ = a_forest()
    before = forest_logits(model, forest)[0]
    compile_blocks(family_model("llama"), backend="eager")
    assert torch.equal(forest_logits(model, forest)[0], before)
