"""What no single field can check: keys that exclude or need each other, overlapping sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tooltune.config.problems import Problem, show
from tooltune.config.schema import Config, Rows, Source
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
    named = [kind for kind in (*kinds, "sources") if source.get(kind) not in _NOTHING]
    where = " or ".join(f"{kind}: {_EXAMPLES[kind]}" for kind in kinds)
    if len(named) > 1:
        message = f"names its traces more than once: {' and '.join(named)}"
        yield Problem(path, message, f"keep one of {', '.join(named)}")
    if not named and required:
        yield Problem(path, "does not say where its traces are", where)
    if named == ["fraction"] or not (named or required):
        message = "belongs to a data set of its own, and none is named here"
        yield from _given(source, path, (*_OF_ROWS, *_OF_HUB, *_OF_SOURCE), message, "delete it")
    if named == ["path"]:
        message = "belongs to a hub data set, and the traces are read from path"
        yield from _given(source, path, _OF_HUB, message, "delete it")
    if named == ["sources"]:
        message = "belongs to each of the sources, which may differ in it"
        fix = "move it into the sources"
        yield from _given(source, path, (*_OF_ROWS, *_OF_HUB), message, fix)
        yield from _mixed_sources(source["sources"], (*path, "sources"))


def _given(
    source: Mapping[str, Any], path: KeyPath, keys: Iterable[str], message: str, fix: str
) -> Iterator[Problem]:
    """A problem for each key that is given, and not as what it is by default."""
    for key in keys:
        value = source.get(key)
        if value not in _NOTHING and value != _DEFAULTS.get(key):
            yield Problem((*path, key), message, fix, show(value))


def _mixed_sources(sources: Any, path: KeyPath) -> Iterator[Problem]:
    """Each source of a mixture names one place, and weights have others to be relative to."""
    if not isinstance(sources, list | tuple):
        return
    weighted: list[KeyPath] = []
    for index, source in enumerate(sources):
        at = (*path, str(index))
        yield from _one_source(source, at, required=True)
        if isinstance(source, Mapping) and source.get("weight") is not None:
            weighted.append((*at, "weight"))
            if source.get("count") is not None:
                message = "has a count and a weight"
                yield Problem(at, message, "count: how many rows, or weight: which share of them")
    if len(weighted) == 1:
        message = "is relative to the weights of other sources, and none of them has one"
        yield Problem(weighted[0], message, "give the others a weight, or delete it")


_EXAMPLES = {"path": "FILE", "dataset_name": "HUB_ID", "fraction": "0.1"}
_NOTHING: tuple[Any, ...] = (None, False, {}, [], ())
_OF_ROWS = (
    *("split", "format", "limit_dataset_samples"),
    *("columns", "where", "weight_by", "group_by"),
)
_OF_HUB = ("revision", "streaming")
_OF_SOURCE = ("stitch", "deduplicate")
_DEFAULTS = {"split": "train", "deduplicate": "keep"}


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
    has_source = evaluation.names_a_place
    if evaluation.enabled and not has_source and config.validation_dataset is None:
        yield Problem(
            ("tool_call_eval",),
            "has no traces: it uses the validation traces, and validation_dataset is null",
            "give it a path or dataset_name, set enabled: false, or keep a validation_dataset",
        )
    if not config.dataset.allow_overlap:
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
        if _share_rows(config.dataset, source):
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


def _share_rows(train: Source, held_out: Source) -> bool:
    """Whether some rows surely are in both: a condition or sample of one may leave them out."""
    return any(
        _same_place(one, other)
        and overlap(one.split, other.split)
        and (not one.where or one.where == other.where)
        for one in _whole_parts(train)
        for other in _whole_parts(held_out)
    )


def _whole_parts(source: Source) -> Iterator[Rows]:
    if not source.sources:
        yield source
    for part in source.sources:
        if part.count is None and part.weight is None:
            yield part


def _same_place(one: Rows, other: Rows) -> bool:
    def place(source: Rows) -> tuple[str | None, frozenset[str]]:
        paths = (source.path,) if isinstance(source.path, str) else source.path or ()
        return source.dataset_name, frozenset(paths)

    return place(one) == place(other) and place(one) != (None, frozenset())
