"""`tooltune eval --rescore DIR …`: score again what was generated, without a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tooltune.cli.output import many, say, working
from tooltune.errors import UserError

if TYPE_CHECKING:
    from tooltune.evaluate.evaluation_file import Record
    from tooltune.evaluate.scoring import ScoringOptions


def rescore(
    folders: Sequence[Path], out: Path | None, options: ScoringOptions, *, exclude_broken: bool
) -> tuple[dict[str, Any], list[Record], Path]:
    """Score the samples of evaluations again and write them; metrics, records, and the folder.

    Several folders are the shards of one evaluation, in their order, and need `out`. No file of
    the folders is changed unless `out` is left out, and then only the results are.

    Raises: UserError for folders that are no evaluations, or not of one and the same.
    """
    from tooltune.evaluate.evaluation_file import load_evaluation
    from tooltune.evaluate.results import write_evaluation
    from tooltune.evaluate.scoring import check_questions, rescore_records
    from tooltune.report.build import write_evaluation_report

    if len(folders) > 1 and out is None:
        raise UserError("several evaluations to rescore as one", fix="name a folder with --out")
    into = out if out is not None else folders[0]
    if into.is_file():
        raise UserError(f"{into} is a file", fix="give the folder of an evaluation")
    if any(into.resolve() == folder.resolve() for folder in folders) and len(folders) > 1:
        raise UserError(f"--out {into} is one of the shards", fix="choose another folder")
    own = any(into.resolve() == folder.resolve() for folder in folders)
    if not own and any((into / name).exists() for name in ("outputs.jsonl", "config.yaml")):
        raise UserError(
            f"--out {into} holds another evaluation, or a training run",
            fix="choose another folder",
        )
    with working(f"reading {many(len(folders), 'evaluation')}"):
        shards = [load_evaluation(folder) for folder in folders]
    name = _one_model(folders)
    records = list(_interleaved(shards))
    _check_disjoint(records)
    records, excluded = check_questions(records, exclude_broken=exclude_broken)
    excluded += list(_excluded_before(folders))
    with working(f"scoring {many(len(records), 'output')}"):
        scored = rescore_records(records, options)
    into.mkdir(parents=True, exist_ok=True)
    if out is not None:
        _keep_ledgers(folders, into)
    metrics = write_evaluation(into, scored, model_name=name, excluded=excluded)
    write_evaluation_report(into)
    say(f"scored again, nothing generated: {into}")
    return metrics, scored, into


def _one_model(folders: Sequence[Path]) -> str:
    """The model's name in metrics.json, and whether shards were generated alike."""
    from tooltune.evaluate.outputs import read_generation

    names, settings = [], []
    for folder in folders:
        try:
            names.append(str(json.loads((folder / "metrics.json").read_bytes())["model"]))
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{folder}: no metrics.json that names a model",
                fix="give the folder of an evaluation, as `tooltune eval --out` wrote it",
            ) from None
        generation = read_generation(folder)
        settings.append(None if generation is None else generation["decides"])
    for folder, name, decides in zip(folders, names, settings, strict=True):
        if name != names[0] or decides != settings[0]:
            raise UserError(
                f"{folder} and {folders[0]} were not generated alike (model or settings differ)",
                fix="rescore them apart, and compare them with `tooltune compare`",
            )
    return names[0]


def _interleaved(shards: Sequence[Sequence[Record]]) -> Iterable[Record]:
    """The order of the samples before they were sharded: one of each shard, in turn."""
    return chain.from_iterable(
        chain.from_iterable(group for group in row if group is not None)
        for row in zip_longest(*map(_by_sample, shards))
    )


def _by_sample(records: Sequence[Record]) -> list[list[Record]]:
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["dataset"], record["sample_id"]), []).append(record)
    return list(groups.values())


def _check_disjoint(records: Sequence[Record]) -> None:
    seen = set()
    for record in records:
        key = record["dataset"], record["sample_id"], record.get("repeat", 0)
        if key in seen:
            raise UserError(
                f"sample {record['sample_id']} is in several of the evaluations",
                fix="give the shards of one evaluation, each once",
            )
        seen.add(key)


def _excluded_before(folders: Sequence[Path]) -> Iterable[Record]:
    """Each once: every shard of a suite lists the questions that it leaves out."""
    seen: dict[bytes, None] = {}
    for folder in folders:
        path = folder / "excluded.jsonl"
        if path.is_file():
            seen |= dict.fromkeys(line for line in path.read_bytes().split(b"\n") if line)
    yield from map(json.loads, seen)


def _keep_ledgers(folders: Sequence[Path], into: Path) -> None:
    """What was rejected of the data: the shards of one evaluation read the same rows."""
    ledger = folders[0] / "ledger.jsonl"
    if ledger.is_file():
        shutil.copyfile(ledger, into / "ledger.jsonl")
