"""Preparing many traces: rows a second, peak memory, cache size, and the second start.

    python benchmarks/preparation.py                      # 100,000 generated traces
    python benchmarks/preparation.py --traces 5000 --workers 1

The file holds a few thousand generated traces over and over, each time with other words in its
user messages, so that no two rows are equal and generating takes no part of the time. Memory is
the resident memory of this process and its workers together, summed ten times a second (pages
that they share count in each). The second start is a process of its own, as a user's would be.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

MODEL = "builtin:smollm2-135m-instruct"
_DIFFERENT = 2000  # traces that are generated; the rest are variations


def main() -> None:
    args = _arguments()
    if args.second_start:
        print(json.dumps(_second_start(args.second_start)))
        return
    with tempfile.TemporaryDirectory(prefix="tooltune-preparation-") as folder:
        data = Path(folder) / "traces.jsonl"
        # In another process, so that what generating leaves in memory is not counted here.
        writer = multiprocessing.get_context("spawn").Process(
            target=write_traces, args=(data, args.traces)
        )
        writer.start()
        writer.join()
        print(f"{args.traces} traces, {data.stat().st_size / 1e6:.0f} MB of JSON lines")
        _measure(data, Path(folder) / "cache", args)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=None, help="as dataset.num_workers")
    parser.add_argument("--second-start", metavar="FILE", help=argparse.SUPPRESS)
    return parser.parse_args()


def write_traces(path: Path, n: int) -> None:
    """`n` rows that differ: generated traces, then those with a number added to what users say."""
    from tooltune.worlds.generate import generate_traces

    rows = [
        trace.to_openai() for trace in generate_traces(min(n, _DIFFERENT), seed=0, split="train")
    ]
    with path.open("w", encoding="utf-8") as file:
        for i in range(n):
            row = rows[i % len(rows)]
            if i >= len(rows):
                messages = [_varied(message, i) for message in row["messages"]]
                row = {**row, "messages": messages}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _varied(message: dict[str, object], number: int) -> dict[str, object]:
    if message["role"] != "user":
        return message
    return {**message, "content": f"{message['content']} (request {number})"}


def _measure(data: Path, cache: Path, args: argparse.Namespace) -> None:
    from tooltune.models.load import load_tokenizer
    from tooltune.render.turns import Renderer
    from tooltune.traces.source import trace_source
    from tooltune.train.preparation.build import Preparing, prepare_source

    renderer = Renderer(load_tokenizer(MODEL))
    os.environ["TOOLTUNE_CACHE"] = str(cache)
    before = resident(os.getpid())
    started = shown = time.perf_counter()

    def progress(done: int) -> None:
        nonlocal shown
        if time.perf_counter() - shown > 30:
            shown = time.perf_counter()
            print(f"  {done} rows, {shown - started:.0f} s", file=sys.stderr)

    with _Peak() as peak:
        how = Preparing(progress, workers=args.workers)
        store = prepare_source(trace_source(data), renderer, how)
    seconds = time.perf_counter() - started
    size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file())
    tokens = int(store.numbers("forest").sum())
    rate = store.rows_read / seconds
    print(
        f"prepared in {seconds:.1f} s: {rate:.0f} rows/s, "
        f"{len(store.keys)} traces, {tokens} distinct tokens, {len(store.rejections)} rejected"
    )
    print(
        f"peak memory {peak.bytes / 2**20:.0f} MiB with {peak.processes} processes (before: "
        f"{before / 2**20:.0f} MiB); cache {size / 1e6:.0f} MB"
    )
    command = [sys.executable, __file__, "--second-start", str(data)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    times = json.loads(done.stdout.splitlines()[-1])
    print("second start: " + ", ".join(f"{what} {took:.2f} s" for what, took in times.items()))


def _second_start(data: str) -> dict[str, float]:
    """Seconds from a new process to the traces of the first step."""
    times: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(what: str) -> None:
        nonlocal clock
        times[what] = time.perf_counter() - clock
        clock = time.perf_counter()

    from tooltune.config.load import load_config
    from tooltune.models.load import load_tokenizer
    from tooltune.train.batches import step_plan
    from tooltune.train.data import prepare_data

    base = {
        "model": MODEL,
        "dataset": {"path": data},
        "validation_dataset": {"fraction": 0.01},
        "output_dir": "unused",
    }
    config = load_config(None, base=base)
    lap("imports")
    cache = os.environ.pop("TOOLTUNE_CACHE")  # the model is in the user's
    tokenizer = load_tokenizer(MODEL)
    os.environ["TOOLTUNE_CACHE"] = cache
    lap("tokenizer")
    found = prepare_data(config, tokenizer)
    assert found.renderer.template.renders < 100, "the cache was not used"
    lap("data")
    plan = step_plan(config, len(found.train))
    assert [found.train[i] for i in plan.traces(0)]
    lap("first step's traces")
    return times


def resident(pid: int) -> int:
    """Bytes of resident memory of a process; 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _family(pid: int) -> list[int]:
    """A process and all that descend from it (Linux)."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(c) for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(one for child in children for one in _family(child))]


class _Peak:
    """The most memory of this process and its children while the context is open."""

    def __enter__(self) -> _Peak:
        self.bytes = self.processes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            family = _family(os.getpid())
            self.bytes = max(self.bytes, sum(resident(pid) for pid in family))
            self.processes = max(self.processes, len(family))


if __name__ == "__main__":
    main()
