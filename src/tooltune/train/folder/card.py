"""The facts of a model card, gathered from the files of a run.

Files are read as they are, not as a configuration of this version: the card of an old run can be
written too, and what its files lack is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tooltune.errors import UserError
from tooltune.evaluate.compare import compare_evaluations, load_evaluation
from tooltune.models.base_card import describe_base
from tooltune.models.card import CardData, CardFacts, CardResult, write_model_card
from tooltune.render.spec import RenderSpec

_SHOWN = ("accuracy", "abstain_accuracy", "balanced_accuracy")
_BASE, _FINAL = "step_0", "final"
_VERSIONS = ("tooltune", "torch", "transformers", "peft", "tokenizers", "datasets")


def write_run_cards(
    model: Path, run: Path, done: Mapping[str, Any], *, results: bool = False
) -> list[Path]:
    """Write the cards of `model/consolidated` and `model/adapter`, those of them that are there.

    `model` is the `model` folder of a checkpoint, `run` the run's folder, `done` what the run had
    done by then (`step`, `tokens`, `trained_tokens`). See `run_card_facts` for `results`.
    """
    facts = run_card_facts(run, done, results=results)
    folders = [model / part for part in ("consolidated", "adapter")]
    return [write_model_card(folder, facts) for folder in folders if folder.is_dir()]


def run_card_facts(
    run: Path, done: Mapping[str, Any], *, results: bool = False, ask_hub: bool = False
) -> CardFacts:
    """What the files of `run` say of a checkpoint at step `done["step"]`.

    `ask_hub`: for the license of a base model whose card is not in the local cache. With
    `results`, also the comparison of that step with the base, from comparison.json or from
    the evaluations of the run (seconds); without them, or where that step was not evaluated, the
    card says that it was not measured.
    """
    config = read_run_config(run)
    environment = _json(run / "environment.json")
    split = _json(run / "split.json")
    rows = _object(environment.get("rows"))
    step = int(done.get("step", 0))
    base = str(_object(config.get("model")).get("pretrained_model_name_or_path", ""))
    profile = _object(environment.get("template_profile"))
    rejected = {str(k): int(v) for k, v in _object(rows.get("rejected")).items()}
    return CardFacts(
        title=f"{run.resolve().name}, step {step}",
        base=describe_base(base, ask_hub=ask_hub),
        lora=bool(config.get("peft")),
        training=tuple(_training(config, done)),
        losses=_losses(run, step),
        data=tuple(_data(config, _object(environment.get("data")))),
        counts={
            "train": int(split.get("n_train", 0)),
            "held_out": int(split.get("n_held_out", 0)),
            "overlap": len(split.get("allowed_overlaps", ())),
            "read": int(rows.get("read", 0)),
            "rejected": sum(rejected.values()),
        }
        if split
        else {},
        rejected=rejected,
        render=_render(environment),
        template=profile,
        call_format=profile.get("call_format"),
        max_new_tokens=int(_object(config.get("tool_call_eval")).get("max_new_tokens", 256)),
        results=tuple(_results(run, step)) if results else (),
        versions=_versions(environment),
    )


def read_run_config(run: Path) -> dict[str, Any]:
    """config.yaml of a run as plain values; empty where there is none.

    Raises: UserError where it cannot be read.
    """
    path = run / "config.yaml"
    try:
        return _object(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {error}", fix="restore it, or delete it") from None


def _training(config: Mapping[str, Any], done: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    steps, schedule = _object(config.get("step_scheduler")), _object(config.get("lr_scheduler"))
    optimizer, dataset = _object(config.get("optimizer")), _object(config.get("dataset"))
    yield "Method", _method(config.get("peft"))
    batch = steps.get("global_batch_size")
    of = f" of {batch} conversations" if batch else ""
    yield "Optimizer steps", f"{int(done.get('step', 0)):,}{of}"
    yield (
        "Tokens",
        f"{int(done.get('tokens', 0)):,} forwarded (shared prefixes once), "
        f"{int(done.get('trained_tokens', 0)):,} with loss",
    )
    if "lr" in optimizer:
        warmup = schedule.get("lr_warmup_steps")
        warm = "3 % of the steps" if warmup is None else f"{warmup} steps"
        yield (
            "Learning rate",
            f"{float(optimizer['lr']):g}, {schedule.get('lr_decay_style', 'cosine')}, warm-up "
            f"over {warm}",
        )
        yield (
            "Optimizer",
            f"{optimizer.get('name', 'adamw')}, weight decay {optimizer.get('weight_decay')}, "
            f"gradient norm clipped to {optimizer.get('max_grad_norm')}",
        )
    yield "Computed in", f"{_object(config.get('model')).get('dtype', 'bfloat16')}, fp32 masters"
    unusual = {k: v for k, v in _object(dataset.get("loss_weights")).items() if v != 1}
    if unusual:
        yield "Loss weights", ", ".join(f"{part} {weight}" for part, weight in unusual.items())
    flags = ("train_on_last_turn_only", "mask_reasoning_content", "drop_history_reasoning_content")
    if on := [flag for flag in (*flags, "skip_failed_calls") if dataset.get(flag)]:
        yield "Flags", ", ".join(on)
    yield "Seed", str(config.get("seed", 0))


def _method(peft: Any) -> str:
    if not isinstance(peft, Mapping):
        return "all weights"
    kind = "DoRA" if peft.get("use_dora") else "LoRA"
    if peft.get("quantization"):
        kind = f"{kind} on a base quantised to {peft['quantization']}"
    targets = peft.get("target_modules", "all-linear")
    where = targets if isinstance(targets, str) else ", ".join(map(str, targets))
    return (
        f"{kind}, rank {peft.get('dim')}, alpha {peft.get('alpha')}, dropout "
        f"{peft.get('dropout')}, on {where}"
    )


def _data(config: Mapping[str, Any], hashes: Mapping[str, Any]) -> Iterator[CardData]:
    """The sources of every section; local ones by the last part of their path, with their hash."""
    evaluation = _object(config.get("tool_call_eval"))
    extras = _object(evaluation.get("extra_datasets"))
    sections = [
        ("training", config.get("dataset")),
        ("validation", config.get("validation_dataset")),
        ("evaluation", evaluation),
        *((f"evaluation ({name})", section) for name, section in extras.items()),
    ]
    for use, section in sections:
        for place in _places(_object(section)):
            yield from _source(use, place, hashes)
    fraction = _object(config.get("validation_dataset")).get("fraction")
    if fraction:
        yield CardData(f"{float(fraction):.0%} of the training source, by conversation", "held out")


def _places(section: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for part in section.get("sources") or [section]:
        if isinstance(part, Mapping) and (part.get("path") or part.get("dataset_name")):
            yield part


def _source(use: str, part: Mapping[str, Any], hashes: Mapping[str, Any]) -> Iterator[CardData]:
    if name := part.get("dataset_name"):
        split = f", split {part['split']}" if part.get("split") else ""
        at = f" at {part['revision']}" if part.get("revision") else ""
        yield CardData(f"{name}{at}{split}", use, hub_id=str(name))
        return
    paths = part["path"]
    for pattern in [paths] if isinstance(paths, str) else paths:
        files = {p: h for p, h in hashes.items() if p == pattern or Path(p).match(str(pattern))}
        for path, facts in (files or {str(pattern): {}}).items():
            known = _object(facts)
            yield CardData(
                Path(path).name, use, sha256=known.get("sha256"), size=known.get("bytes")
            )


def _losses(run: Path, step: int) -> tuple[float, float] | None:
    """The validation loss of step 0 and of `step`."""
    found = {
        row["step"]: row["loss"]
        for row in _lines(run / "metrics.jsonl")
        if row.get("kind") == "val" and isinstance(row.get("loss"), float) and "step" in row
    }
    return (found[0], found[step]) if step and 0 in found and step in found else None


def _results(run: Path, step: int) -> Iterator[CardResult]:
    comparison = _comparison(run, step)
    main = str(comparison.get("main_set", "held_out"))
    others = {k: v for k, v in _object(comparison.get("datasets")).items() if k != main}
    for name, section in {main: comparison, **others}.items():
        for metric in _SHOWN:
            entry = _object(section.get(f"tool_call/{metric}"))
            if "ci95" in entry:
                low, high = entry["ci95"]
                yield CardResult(
                    "held out" if name == "held_out" else name,
                    metric,
                    int(entry["n"]),
                    float(entry["base"]),
                    float(entry["tuned"]),
                    (float(low), float(high)),
                )


def _comparison(run: Path, step: int) -> dict[str, Any]:
    """The comparison of the base with the weights of `step`; empty where they were not scored."""
    written = _json(run / "comparison.json")
    if str(written.get("tuned_name", "")).endswith(f"(step {step})"):
        return written
    evaluations = run / "eval"
    try:
        return compare_evaluations(
            load_evaluation(evaluations / _BASE),
            load_evaluation(evaluations / f"step_{step}"),
            base_name="base",
            tuned_name=f"step {step}",
        )
    except UserError:
        return {}


def _render(environment: Mapping[str, Any]) -> RenderSpec:
    values = {k: v for k, v in _object(environment.get("render")).items() if k != "fingerprint"}
    try:
        return RenderSpec.from_dict(values)
    except (TypeError, UserError):  # of another version
        return RenderSpec()


def _versions(environment: Mapping[str, Any]) -> dict[str, str]:
    packages = _object(environment.get("packages"))
    found = {name: str(packages[name]) for name in _VERSIONS if name in packages}
    python = environment.get("python")
    return {**found, "Python": str(python)} if python else found


def _json(path: Path) -> dict[str, Any]:
    try:
        return _object(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return {}


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
