"""A chat template from outside can take neither the machine's time nor its memory (trap 30)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.render.strategies import simple_trace
from tooltune.errors import UserError
from tooltune.render import guard
from tooltune.render.spec import RenderSpec
from tooltune.render.turns import Renderer

LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.fixture
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    child = guard._CHILD.replace(f"({guard.MAX_CPU_SECONDS}, {guard.MAX_CPU_SECONDS})", "(1, 1)")
    assert child != guard._CHILD
    monkeypatch.setattr(guard, "_CHILD", child)
    guard._try.cache_clear()


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (LOOP, "processor time"),
        ("{{ 'x' * 10 ** 11 }}", "MiB"),
        ("{% for a in range(99999) %}{{ 'x' * 100 }}{% endfor %}", "characters of a few words"),
        ("{% if tools %}" + LOOP + "{% endif %}", "processor time"),
        ("{# " + "x" * guard.MAX_TEMPLATE_CHARACTERS + " #}", "characters"),
    ],
)
def test_a_template_that_takes_too_much_is_refused_before_it_runs_here(
    qwen25: Any, short_limits: None, template: str, problem: str
) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=problem):
        Renderer(qwen25, RenderSpec(chat_template=template))
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("template", ["{% broken", "{{ raise_exception('no') }}", "{{ 1 / 0 }}"])
def test_what_a_template_raises_is_left_to_the_probe(template: str) -> None:
    guard.check_limits([template])


def test_a_template_is_tried_once(qwen25: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Renderer(qwen25)
    monkeypatch.setattr(guard.subprocess, "run", lambda *_, **__: pytest.fail("tried again"))
    assert Renderer(qwen25).render(simple_trace()).turns
