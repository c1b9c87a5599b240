"""The YAML file's JSON Schema, for editors that complete and check as one types."""

from __future__ import annotations

from typing import Any

from tooltune.config.layers import SECTIONS
from tooltune.config.schema import Config

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Filled in from other keys (`defaults.py`) where the file leaves them out.
_DERIVED = {
    "Config": ("validation_dataset", "optimizer", "output_dir"),
    "Optimizer": ("lr",),
    "Peft": ("alpha",),
}


def json_schema() -> dict[str, Any]:
    """A draft 2020-12 schema of what `load_config` accepts in a file, short forms included.

    What no schema can say (keys that exclude each other, rows that overlap) is left to
    `tooltune check`.
    """
    schema = Config.model_json_schema()
    parts = {"Config": schema, **schema["$defs"]}
    for name, keys in _DERIVED.items():
        required = [key for key in parts[name].get("required", ()) if key not in keys]
        parts[name]["required"] = required
    properties = schema["properties"]
    properties["model"] = _either({"type": "string"}, properties["model"])
    for name in SECTIONS:
        properties[name] = _either(properties[name], {"type": "null"})
    return {"$schema": _DIALECT, **schema, "title": "tooltune run"}


def _either(*choices: dict[str, Any]) -> dict[str, Any]:
    """One of several schemas; the descriptions and defaults of the choices move outside."""
    outside: dict[str, Any] = {}
    inside: list[dict[str, Any]] = []
    for choice in choices:
        outside |= {key: choice[key] for key in ("description", "default") if key in choice}
        rest = {key: value for key, value in choice.items() if key not in outside}
        inside += rest["anyOf"] if set(rest) == {"anyOf"} else [rest]
    return {"anyOf": inside, **outside}
