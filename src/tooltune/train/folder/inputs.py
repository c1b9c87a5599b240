"""What a run is started on: the same on every rank, and when it is continued (environment.json)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tooltune.config.schema import Config
from tooltune.errors import UserError
from tooltune.train.data import RunData
from tooltune.train.folder.resume import ROUNDING_REMARK
from tooltune.train.parallel.world import World

_HASHES = {
    "the tokenizer": "tokenizer_sha256",
    "the chat template": "chat_template_sha256",
    "the model": "model_sha256",
}


def require_same_on_all(config: Config, data: RunData, world: World) -> None:
    """Check that every rank is about to train on what rank 0 does. Every rank must call.

    Each reads for itself, perhaps on another machine, or a moment later. Ranks that differed would
    train on rows that do not belong together, and lose step with each other later.

    Raises: UserError, on every rank, for one whose configuration or data are not those of rank 0.
    """
    if world.size == 1:
        return
    samples = "\n".join(sample.sample_id for sample in data.samples)
    mine = {
        "configuration": _sha256(json.dumps(config.resolved(), sort_keys=True, default=str)),
        "data": hash_traces(data),
        "evaluated samples": _sha256(samples),
    }
    theirs = world.broadcast(mine)

    def compare() -> None:
        if other := [what for what, digest in mine.items() if digest != theirs[what]]:
            raise UserError(
                f"rank {world.rank} reads something else than rank 0: other {' and '.join(other)}",
                fix="put config and data where all machines read the same files, and leave them "
                "alone while a run starts",
            )

    world.together(compare, "comparing what ranks read")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hash_traces(data: RunData) -> str:
    """Of which traces are trained on and held out, in their order, and how many tokens each has.

    Notices what no file tells: another version of a hub data set, another way of rendering.
    """
    digest = hashlib.sha256()
    for traces in (data.train, data.held_out):
        digest.update(" ".join(key.content_id for key in traces.keys).encode())
        digest.update(traces.lengths.tobytes() + traces.targets.tobytes())
    return digest.hexdigest()


def input_differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> tuple[str, str] | None:
    """How the inputs recorded in two environment.json differ: what changed, and lines that show it.

    None where they are the same. What the earlier one did not record is not compared.
    """
    changed, lines = [], []
    if "data" in there and there["data"] != here["data"]:
        changed.append("the data")
        lines += _data_lines(there["data"], here["data"])
    elif _differ(there, here, "traces"):
        changed.append("the data")
        lines.append("the traces are others, or are rendered to other tokens")
    if changed and _differ(there, here, "rows"):
        lines.append(f"rows: {_rows(there['rows'])} -> {_rows(here['rows'])}")
    for what, key in _HASHES.items():
        if key in there and there[key] != here.get(key):
            changed.append(what)
            lines.append(f"{what}: {_digits(there[key])} -> {_digits(here.get(key))}")
    return (" and ".join(changed), "\n".join(f"  {line}" for line in lines)) if changed else None


def _data_lines(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    lines = []
    for path in dict.fromkeys([*there, *here]):
        before, now = there.get(path), here.get(path)
        if before is None or now is None:
            lines.append(f"{path}: {'is new' if before is None else 'is gone'}")
        elif before != now:
            sizes = f"{before['bytes']:,} -> {now['bytes']:,} bytes"
            hashes = f"sha256 {_digits(before['sha256'])} -> {_digits(now['sha256'])}"
            lines.append(f"{path}: {sizes}, {hashes}")
    return lines


def _differ(there: Mapping[str, Any], here: Mapping[str, Any], key: str) -> bool:
    return key in there and key in here and bool(there[key] != here[key])


def _rows(rows: Mapping[str, Any]) -> str:
    return f"{rows.get('read', 0):,} read and {rows.get('accepted', 0):,} accepted"


def _digits(sha256: str | None) -> str:
    return "none" if sha256 is None else f"{sha256[:12]}…"


def machine_remarks(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs between two starts in software and hardware, on which the last bits depend."""
    packages = ("tooltune", "torch", "transformers", "peft")
    names: dict[tuple[str, ...], str] = {("packages", name): name for name in packages} | {
        ("world_size",): "processes",
        ("cpu", "torch_threads"): "CPU threads",
        ("cpu", "capability"): "CPU",
    }
    found = [(name, _at(there, path), _at(here, path)) for path, name in names.items()]
    found.append(("GPUs", _devices(there), _devices(here)))
    changed = [
        f"{name} {before} -> {now}"
        for name, before, now in found
        if before is not None and before != now
    ]
    return [f"{', '.join(changed)} since the last start: {ROUNDING_REMARK}"] if changed else []


def _at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for part in path:
        below = values.get(part)
        if not isinstance(below, Mapping):
            return below
        values = below
    return None


def _devices(environment: Mapping[str, Any]) -> str:
    devices = (environment.get("cuda") or {}).get("devices", [])
    return ", ".join(str(device.get("name")) for device in devices) or "none"
