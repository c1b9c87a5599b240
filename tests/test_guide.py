"""`docs/guide.md` is its source with what the blocks printed, and names only what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scripts.guide import (
    PAGE,
    SOURCE,
    Account,
    BlockFailed,
    Place,
    on_a_screen,
    run_block,
    run_steps,
)
from scripts.guide_check import problems, tooltune_commands
from scripts.guide_page import (
    Block,
    blocks_of,
    outputs_of,
    parse,
    render,
    shortened,
    without_outputs,
)

PARTS = parse(SOURCE.read_text(encoding="utf-8"))


def test_every_command_option_and_key_of_the_guide_exists() -> None:
    assert list(problems(PARTS)) == []


def test_the_page_is_its_source_and_what_was_printed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert without_outputs(page) == without_outputs(render(PARTS, {})), (
        "run: python -m scripts.guide (or, for one step, with --work DIR --only STEP)"
    )


def test_every_step_of_the_page_was_recorded() -> None:
    account = Account.read(PAGE.read_text(encoding="utf-8"))
    assert list(account.steps) == list(dict.fromkeys(b.step for b in blocks_of(PARTS) if b.runs))
    assert account.machines


def test_blocks_that_print_have_their_output_on_the_page() -> None:
    found = outputs_of(PAGE.read_text(encoding="utf-8"), PARTS)
    for block in blocks_of(PARTS):
        assert (block.line in found) == block.runs, block.name


def test_only_what_needs_gpus_or_was_done_before_is_not_run() -> None:
    shown = [b.code for b in blocks_of(PARTS) if b.language in ("bash", "python") and not b.runs]
    assert len(shown) == 2
    assert shown[0].startswith("make install")
    assert "--nproc-per-node 8" in shown[1]


@pytest.mark.parametrize(
    ("block", "named"),
    [
        ("```bash\ntooltune evaluate --model M\n```", "tooltune evaluate"),
        ("```bash\ntooltune eval --modell M\n```", "--modell"),
        ("```bash\ntrue && tooltune check x.json --nonsense=1 2>&1 | cat\n```", None),
        ("```bash\ntooltune train a.yaml --optimizer.rate=1\n```", "optimizer.rate"),
        ("```bash no-run\ntooltune demo --steps 3\n```", "--steps"),
        ("```python\nprint(\n```", "never closed"),
    ],
)
def test_what_does_not_exist_is_found_and_placed(block: str, named: str | None) -> None:
    config = "```yaml file=a.yaml\nmodel: M\ndataset: {path: x.json}\n```\n"
    (problem,) = problems(parse(f"## Step 7\n{config}{block}\n"))
    assert "step 7, line 6" in problem
    assert named is None or named in problem


def test_a_config_with_a_wrong_key_is_found() -> None:
    (problem,) = problems(parse("```yaml file=a.yaml\nmodell: M\n```\n"))
    assert "modell" in problem


def test_commands_end_where_the_shell_says_so() -> None:
    code = "tooltune eval --data 'a b' \\\n --row 5 2>/dev/null || tooltune --version; ls # x"
    assert list(tooltune_commands(code)) == [
        ["eval", "--data", "a b", "--row", "5"],
        ["--version"],
    ]


def test_a_block_that_fails_is_named_with_what_it_printed(tmp_path: Path) -> None:
    parts = parse("## Step 3\n\n```bash\necho before\nls /nowhere\necho after\n```\n")
    with pytest.raises(BlockFailed, match=r"step 3, line 3 \(bash\).*exit code 2") as failed:
        run_steps(parts, Place.make(tmp_path / "work"), None)
    assert "before" in str(failed.value)
    assert "\nafter\n" not in str(failed.value)


def test_blocks_share_a_folder_and_see_the_files_of_the_page(tmp_path: Path) -> None:
    source = (
        "```yaml file=a.yaml\nkey: 1\n```\n```bash\ncp a.yaml b\n```\n"
        "```python\nprint(open('b').read())\n```\n"
    )
    outputs, _ = run_steps(parse(source), Place.make(tmp_path / "work"), None)
    assert outputs == {4: "", 7: "key: 1\n\n"}


def test_both_streams_are_shown_and_own_folders_are_not(tmp_path: Path) -> None:
    place = Place.make(tmp_path / "work")
    block = Block("bash", 'echo out; echo "in $PWD" >&2; echo "$TOOLTUNE_CACHE"', "1", 1)
    assert run_block(block, place) == "out\nin ~/tooltune\n~/.cache/tooltune\n"


def test_lines_that_were_written_over_are_shown_as_they_ended() -> None:
    assert on_a_screen("a\rbc\rd\nplain\r\n\rlast") == "d\nplain\nlast"


printed = st.text(st.sampled_from("ab`\n|# <>!-"), max_size=60).map(lambda text: text.strip("\n"))


@example(["before\n```\nafter"], False)
@given(st.lists(printed, min_size=1, max_size=5), st.booleans())
def test_outputs_are_found_again_and_taken_away_without_a_trace(
    texts: list[str], markdown: bool
) -> None:
    options = " as=markdown" if markdown else ""
    source = "".join(f"text {i}\n\n```bash{options}\necho {i}\n```\n" for i in range(len(texts)))
    parts = parse(source)
    outputs = {
        b.line: text for b, text in zip(blocks_of(parts), texts, strict=True) if text.strip()
    }
    page = render(parts, outputs)
    assert outputs_of(page, parts) == outputs
    assert render(parts, outputs_of(page, parts)) == page
    assert without_outputs(page) == render(parts, {})


@given(st.integers(0, 40), st.integers(0, 10), st.integers(0, 10))
def test_shortening_counts_the_lines_that_it_leaves_out(n: int, head: int, tail: int) -> None:
    lines = [f"line {i}" for i in range(n)]
    short = shortened("\n".join(lines), head, tail).splitlines()
    if len(short) == n:
        assert short == lines
        return
    assert short[:head] == lines[:head]
    assert short[head] == f"[… {n - head - tail} lines]"
    assert short[head + 1 :] == lines[n - tail :]
    assert shortened("\n".join(short), head, tail).splitlines() == short


@pytest.mark.parametrize(
    "source",
    ["```bash\necho", "```bash loud\n```\n", "```text\nout\n```\n", "```bash head=x\n```\n"],
)
def test_a_source_that_cannot_be_read_is_refused(source: str) -> None:
    with pytest.raises(ValueError):
        parse(source)
