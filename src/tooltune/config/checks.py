"""What no single field can check: keys that exclude or need each other, overlapping sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tooltune.config.problems import Problem, show
from tooltune.config.schema import Config, Source
from tooltune.config.splits import overlap
from tooltune.config.yamlfile import KeyPath


def source_problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Each place that must name where its traces come from names exactly one place."""
    yield from _one_source(values.get("dataset"), ("dataset",), required=True)
    validation = values.get("validation_dataset")
    yield from _one_source(validation, ("validation_dataset",), required=True, fraction=True)
    evaluation = values.get("tool_call_eval")
    yield from _one_source(evaluation, ("tool_call_eval",), required=False)
    if isinstance(evaluation, Mapping) and isinstance(evaluation.get("extra_datasets"), Mapping):
        for name, source in evaluation["extra_datasets"].items():
            path = ("tool_call_eval", "extra_datasets", str(name))
            yield from _one_source(source, path, required=True)


def _one_source(
    source: Any, path: KeyPath, *, required: bool, fraction: bool = False
) -> Iterator[Problem]:
    if not isinstance(source, Mapping):
        return
    kinds = ["path", "dataset_name", *(["fraction"] if fraction else [])]
    named = [kind for kind in kinds if source.get(kind) is not None]
    where = " or ".join(f"{kind}: {_EXAMPLES[kind]}" for kind in kinds)
    if len(named) > 1:
        message = f"names its traces more than once: {' and '.join(named)}"
        yield Problem(path, message, f"keep one of {', '.join(named)}")
    if not named and required:
        yield Problem(path, "does not say where its traces are", where)
    if named != ["path"] and named != ["dataset_name"]:
        for key in ("split", "revision", "format", "limit_dataset_samples"):
            if source.get(key) not in (None, "train" if key == "split" else None) and (
                named == ["fraction"] or not (named or required)
            ):
                message = "belongs to a data set of its own, and none is named here"
                yield Problem((*path, key), message, "delete it", show(source[key]))
    if named == ["path"] and source.get("revision") is not None:
        message = "is the version of a hub data set, and the traces are read from path"
        yield Problem((*path, "revision"), message, "delete it", show(source["revision"]))


_EXAMPLES = {"path": "FILE", "dataset_name": "HUB_ID", "fraction": "0.1"}


def config_problems(config: Config) -> Iterator[Problem]:
    """What remains to check once every field is valid by itself."""
    if config.lr_scheduler.min_lr > config.optimizer.lr:
        yield Problem(
            ("lr_scheduler", "min_lr"),
            f"must not be above optimizer.lr, which is {config.optimizer.lr}",
            "lower min_lr or raise optimizer.lr",
            show(config.lr_scheduler.min_lr),
        )
    steps = config.step_scheduler
    if steps.local_batch_size is not None and steps.local_batch_size > steps.global_batch_size:
        yield Problem(
            ("step_scheduler", "local_batch_size"),
            f"must not be above global_batch_size, which is {steps.global_batch_size}",
            "delete it: the packer chooses",
            show(steps.local_batch_size),
        )
    evaluation = config.tool_call_eval
    has_source = evaluation.path is not None or evaluation.dataset_name is not None
    if evaluation.enabled and not has_source and config.validation_dataset is None:
        yield Problem(
            ("tool_call_eval",),
            "has no traces: it uses the validation traces, and validation_dataset is null",
            "give it a path or dataset_name, set enabled: false, or keep a validation_dataset",
        )
    yield from _overlaps(config)


def _overlaps(config: Config) -> Iterator[Problem]:
    held_out: list[tuple[KeyPath, Source]] = []
    if config.validation_dataset is not None:
        held_out.append((("validation_dataset",), config.validation_dataset))
    if config.tool_call_eval.enabled:
        held_out.append((("tool_call_eval",), config.tool_call_eval))
    for name, source in config.tool_call_eval.extra_datasets.items():
        held_out.append((("tool_call_eval", "extra_datasets", name), source))
    for path, source in held_out:
        if _same_place(config.dataset, source) and overlap(config.dataset.split, source.split):
            yield Problem(
                (*path, "split"),
                f"shares rows with the training split {config.dataset.split!r} of the same data, "
                "so it would measure what was memorised",
                _OVERLAP_FIX,
                show(source.split),
            )


_OVERLAP_FIX = (
    "validation_dataset: {fraction: 0.1} holds whole conversations out, "
    "or take disjoint slices such as train[:90%] and train[90%:]"
)


def _same_place(one: Source, other: Source) -> bool:
    def place(source: Source) -> tuple[str | None, frozenset[str]]:
        paths = (source.path,) if isinstance(source.path, str) else source.path or ()
        return source.dataset_name, frozenset(paths)

    return place(one) == place(other) and place(one) != (None, frozenset())
