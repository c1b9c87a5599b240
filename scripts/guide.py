"""Run every block of docs/guide.in.md and write docs/guide.md: the same, with what they printed.

    python -m scripts.guide                       everything, in a fresh folder
    python -m scripts.guide --work DIR            in DIR, which stays
    python -m scripts.guide --work DIR --only 5   one step; those before it ran in DIR
    python -m scripts.guide --check               do the commands, options and keys exist? (seconds)

A block that fails stops the script, which then names it and leaves docs/guide.md as it was.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from scripts.guide_check import problems
from scripts.guide_page import Block, Part, blocks_of, outputs_of, parse, render

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "docs" / "guide.in.md"
PAGE = ROOT / "docs" / "guide.md"
_SHOWN = ("torch", "transformers", "peft")
_LIMIT_S = 3600  # of one block
# What packages that `make install` does not bring say when they are imported.
_BESIDE = re.compile(r"^Failed to load CPU gemm_4bit_forward .*\n", re.MULTILINE)  # bitsandbytes


class BlockFailed(Exception):
    """A block ended with another exit code than 0, or not in time."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where blocks run: `work` is what a reader's checkout is to them."""

    work: Path
    cache: Path

    @classmethod
    def make(cls, work: Path) -> Place:
        """`work` with the checkout's examples in it; caches beside it: nothing is reused."""
        place = cls(work.resolve(), work.resolve().with_name(work.name + "-cache"))
        place.work.mkdir(parents=True, exist_ok=True)
        if not (place.work / "examples").exists():
            (place.work / "examples").symlink_to(ROOT / "examples")
        return place

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {
            **os.environ,
            "PATH": path,
            "TOOLTUNE_CACHE": str(self.cache),
            "HF_HUB_OFFLINE": "1",  # nothing here may need a network
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "COLUMNS": "100",
        }

    def as_a_reader_sees(self, text: str) -> str:
        """Own folders under neutral names; nothing of packages that a reader does not have."""
        text = _BESIDE.sub("", text)
        names = {self.cache: "~/.cache/tooltune", self.work: "~/tooltune", ROOT: "~/tooltune"}
        for folder, name in names.items():
            text = text.replace(str(folder), name)
        return text.replace(str(Path.home()), "~")


def run_block(block: Block, place: Place) -> str:
    """What the block printed, both streams as they came. Raises: BlockFailed."""
    words = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": ["python", "-c"]}[block.language]
    with subprocess.Popen(
        [*words, block.code],
        cwd=place.work,
        env=place.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # so that all that it started can be ended with it
    ) as process:
        try:
            output, _ = process.communicate(timeout=_LIMIT_S)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise BlockFailed(f"{block.name} took more than {_LIMIT_S} s") from error
            raise
    printed = on_a_screen(output.decode(errors="replace"))
    if process.returncode != 0:
        raise BlockFailed(
            f"{block.name} failed with exit code {process.returncode}:\n\n{block.code}\n\n"
            f"{printed[-4000:]}"
        )
    return place.as_a_reader_sees(printed)


def on_a_screen(text: str) -> str:
    """What is left of lines that were written over, as bars of progress are."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def run_steps(
    parts: Sequence[Part], place: Place, only: str | None
) -> tuple[dict[int, str], dict[str, float]]:
    """What each block printed, by its line, and how many seconds each step took."""
    outputs: dict[int, str] = {}
    seconds: dict[str, float] = {}
    for block in blocks_of(parts):
        if only not in (None, block.step):
            continue
        if block.file:
            (place.work / block.file).write_text(block.code + "\n", encoding="utf-8")
        if not block.runs:
            continue
        started = time.monotonic()
        print(f"{block.name} ...", end=" ", flush=True)
        outputs[block.line] = run_block(block, place)
        took = time.monotonic() - started
        seconds[block.step] = seconds.get(block.step, 0.0) + took
        print(f"{took:.0f} s", flush=True)
    return outputs, seconds


def machine() -> str:
    """The cores, whether they had other work too, the GPU, and the versions that decide."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    busy = " (busy with other work too)" if os.getloadavg()[0] > 3 * (cores or 1) else ""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = ", ".join(f"{name} {version(name)}" for name in _SHOWN)
    return (
        f"{platform.system()} {platform.machine()}, {cores} CPU cores{busy}, {gpu}; "
        f"Python {platform.python_version()}, {versions}"
    )


@dataclass(frozen=True, slots=True)
class Account:
    """The head of a page: on what it was recorded; day and seconds of each step."""

    machines: tuple[str, ...]
    steps: dict[str, tuple[str, int]]

    def __str__(self) -> str:
        minutes = sum(seconds for _, seconds in self.steps.values()) / 60
        rows = [f"| {step} | {day} | {took} s |" for step, (day, took) in self.steps.items()]
        return "\n".join(
            [
                f"Recorded on {'; and on '.join(self.machines)}. It took {minutes:.0f} minutes.",
                "",
                "| step | run on | took |",
                "|---|---|--:|",
                *rows,
                "",
            ]
        )

    @classmethod
    def read(cls, page: str) -> Account:
        """That of a page. Raises: ValueError for a page that has none."""
        machines = re.search(r"^Recorded on (.*)\. It took ", page, re.MULTILINE)
        if machines is None:
            raise ValueError("the page does not say on what it was recorded")
        rows = re.findall(r"^\| (\w+) \| (\d{4}-\d\d-\d\d) \| (\d+) s \|$", page, re.MULTILINE)
        steps = {step: (day, int(took)) for step, day, took in rows}
        return cls(tuple(machines[1].split("; and on ")), steps)


def write_page(
    parts: Sequence[Part], outputs: dict[int, str], seconds: dict[str, float], only: str | None
) -> None:
    """The page; after a single step, that step's part in it."""
    today = date.today().isoformat()
    steps = {step: (today, round(took)) for step, took in seconds.items()}
    account = Account((machine(),), steps)
    if only is not None and PAGE.exists():
        page = PAGE.read_text(encoding="utf-8")
        outputs = outputs_of(page, parts) | outputs
        before = Account.read(page)
        machines = tuple(dict.fromkeys([*before.machines, *account.machines]))
        known = before.steps | steps
        order = dict.fromkeys(block.step for block in blocks_of(parts))
        account = Account(machines, {step: known[step] for step in order if step in known})
    PAGE.write_text(render(parts, outputs, str(account)), encoding="utf-8")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, help="run there, and leave it (else a new folder)")
    parser.add_argument("--only", metavar="STEP", help="one step: 0 to 6, or lora; needs --work")
    parser.add_argument("--check", action="store_true", help="run nothing")
    given = parser.parse_args(words)
    parts = parse(SOURCE.read_text(encoding="utf-8"))
    if given.check:
        return _say(problems(parts))
    steps = list(dict.fromkeys(block.step for block in blocks_of(parts)))
    if given.only is not None and (given.work is None or given.only not in steps):
        parser.error(f"--only takes one of {', '.join(steps)}, and --work with the steps before")
    with tempfile.TemporaryDirectory(prefix="tooltune-guide-") as temporary:
        place = Place.make(given.work or Path(temporary) / "tooltune")
        if given.only is None and given.work is not None:
            _empty(place)
        try:
            outputs, seconds = run_steps(parts, place, given.only)
        except BlockFailed as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
    write_page(parts, outputs, seconds, given.only)
    print(f"wrote {PAGE}: {sum(seconds.values()) / 60:.1f} minutes")
    return 0


def _empty(place: Place) -> None:
    """A guide starts from nothing: what an earlier run left in the folder goes."""
    if any(path.name != "examples" for path in place.work.iterdir()):
        if not (place.work / "traces.json").exists():
            raise SystemExit(f"{place.work} holds something else: name an empty folder")
        shutil.rmtree(place.work)
        shutil.rmtree(place.cache, ignore_errors=True)
        Place.make(place.work)


def _say(found: Iterable[str]) -> int:
    lines = list(found)
    print("\n".join(lines) or "every command, option and key of the guide exists")
    return 1 if lines else 0


if __name__ == "__main__":
    raise SystemExit(main())
