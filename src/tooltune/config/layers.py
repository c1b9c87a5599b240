"""Layers of a config (built in, file, command line), the later over the earlier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tooltune.config.yamlfile import KeyPath

# The ways to say where traces come from: naming one in a later layer takes the place of the other.
SOURCES = ("path", "dataset_name", "sources", "fraction")

# Keys that describe the rows of one place, and nothing where there is none or are several.
_OF_ROWS = ("split", "format", "limit_dataset_samples", "columns", "where", "weight_by", "group_by")

# Sections for which an empty `key:` (a YAML null) means nothing but "as by default".
SECTIONS = (
    "step_scheduler",
    "optimizer",
    "lr_scheduler",
    "distributed",
    "checkpoint",
    "log",
)


def with_long_forms(values: Mapping[str, Any]) -> dict[str, Any]:
    """`model: NAME` written out, and sections left empty as empty mappings."""
    full = dict(values)
    if isinstance(full.get("model"), str):
        full["model"] = {"pretrained_model_name_or_path": full["model"]}
    for name in SECTIONS:
        if name in full and full[name] is None:
            full[name] = {}
    return full


def merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`upper` over `lower`, mapping by mapping; lists and scalars are replaced whole.

    A source named in `upper` takes the place of another kind of source in `lower`, together with
    what only belonged to that one: `--dataset.path=F` replaces `dataset_name` and its `revision`.
    """
    result = dict(lower)
    named = {key for key in SOURCES if upper.get(key) is not None}
    if named:
        gone = set(SOURCES) | {"revision", "streaming"}
        if named & {"fraction", "sources"}:
            gone |= set(_OF_ROWS) - set(upper)
        result = {key: value for key, value in result.items() if key not in gone - named}
    for key, value in upper.items():
        below = result.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result


def nested(assignments: Iterable[tuple[KeyPath, Any]]) -> dict[str, Any]:
    """Dotted assignments as one layer, each laid over those before it."""
    layer: dict[str, Any] = {}
    for path, value in assignments:
        single: Any = value
        for part in reversed(path):
            single = {part: single}
        layer = merged(layer, with_long_forms(single))
    return layer
