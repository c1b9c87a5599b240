"""Write made-up traces in the shape of llamafactory/glaive_toolcall_en, from tools that execute.

    python examples/glaive_like_traces.py

writes traces.json (to train on) and held_out.json (to measure on: other people, places and
numbers). Each row has `tools` (a JSON string) and `conversations`, whose turns are `human`, `gpt`,
`function_call` or `observation`; calls made at once stand one after the other.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tooltune import Trace
from tooltune.worlds.generate import generate_traces
from tooltune.worlds.pools import Side

WORLDS = ("shop", "home", "travel")


def to_sharegpt(trace: Trace) -> dict[str, Any]:
    """One row of a trace."""
    turns: list[dict[str, str]] = []
    system = ""
    for message in trace.to_openai()["messages"]:
        match message["role"]:
            case "system":
                system = message["content"]
            case "user":
                turns.append({"from": "human", "value": message["content"]})
            case "tool":
                turns.append({"from": "observation", "value": message["content"]})
            case "assistant":
                if message["content"]:
                    turns.append({"from": "gpt", "value": message["content"]})
                for call in message.get("tool_calls", ()):
                    value = json.dumps(call["function"], ensure_ascii=False)
                    turns.append({"from": "function_call", "value": value})
    tools = json.dumps([tool.to_openai()["function"] for tool in trace.tools], ensure_ascii=False)
    return {"conversations": turns, "system": system, "tools": tools}


def write(path: Path, traces: list[Trace]) -> None:
    rows = [to_sharegpt(trace) for trace in traces]
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path}: {len(rows)} traces")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=160, help="traces to train on")
    parser.add_argument("--held-out", type=int, default=40, help="traces to measure on")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    files: dict[Side, tuple[str, int]] = {
        "train": ("traces.json", given.train),
        "held_out": ("held_out.json", given.held_out),
    }
    for side, (name, count) in files.items():
        traces = generate_traces(count, seed=given.seed, split=side, agents=True, worlds=WORLDS)
        write(Path(name), traces)


if __name__ == "__main__":
    main()
