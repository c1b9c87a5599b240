"""The files of an evaluation: write samples and metrics, and read samples back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tooltune.errors import UserError

Record = dict[str, Any]

_TYPES: dict[str, type] = {
    "sample_id": str,
    "example_id": str,
    "dataset": str,
    "kind": str,
    "gt_tool_calls": list,
    "verdict": dict,
}
_VERDICT_TYPES: dict[str, type] = {"correct": bool, "outcome": str, "scores": dict}


def replace_file(path: Path, text: str) -> None:
    """Write a file in one step: whoever reads it, after a crash too, finds the old or the new."""
    staged = path.with_name(f".{path.name}.staged")
    try:
        with staged.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


def json_lines(records: Sequence[Record]) -> str:
    return "".join(_line(record) + "\n" for record in records)


def _line(record: Record) -> str:
    """JSON that a person can read; escaped where it holds half characters, which UTF-8 lacks."""
    text = json.dumps(record, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(record, ensure_ascii=True)
    return text


def conversation_of(record: Mapping[str, Any]) -> str:
    """What a sample shares with others that are not independent of it: its conversation."""
    return str(record.get("group") or record["example_id"])


def load_evaluation(path: str | Path) -> list[Record]:
    """The records of samples.jsonl; `path` is that file or the folder of an evaluation.

    Raises `UserError` where there is none, and for a line that is no sample, with its number.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "samples.jsonl"
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"{file}: no samples of an evaluation to read ({error.strerror or error})",
            fix=_did_you_mean(Path(path))
            or "give the folder that `tooltune eval --out` or a run (runs/NAME/eval/TAG) wrote",
        ) from None
    # Bytes are cut at \n alone: generated text may hold other line ends (U+2028, U+0085).
    lines = enumerate(data.split(b"\n"), start=1)
    samples = [_sample(line, f"{file}, line {number}") for number, line in lines if line.strip()]
    if not samples:
        raise UserError(f"{file}: holds no samples", fix="run the evaluation again")
    return samples


def _did_you_mean(folder: Path) -> str | None:
    """The evaluations inside a folder that is itself none, such as that of a run."""
    if (folder / "outputs.jsonl").is_file():
        return "its evaluation was interrupted: give the same `tooltune eval` again to go on"
    files = sorted([*folder.glob("eval/*/samples.jsonl"), *folder.glob("*/samples.jsonl")])
    inside = " or ".join(str(file.parent) for file in files[:4])
    return f"did you mean {inside}?" if inside else None


def _sample(line: bytes, where: str) -> Record:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _broken(where, f"not JSON ({error})") from None
    if not isinstance(record, dict):
        raise _broken(where, "not a JSON object")
    _check(record, _TYPES, where)
    _check(record["verdict"], _VERDICT_TYPES, f"{where}, verdict")
    return record


def _check(record: Record, types: dict[str, type], where: str) -> None:
    for key, kind in types.items():
        if not isinstance(record.get(key), kind):
            raise _broken(where, f"`{key}` is missing or not of type {kind.__name__}")


def _broken(where: str, why: str) -> UserError:
    return UserError(
        f"{where}: {why}, so this is not a whole evaluation", fix="run the evaluation again"
    )
