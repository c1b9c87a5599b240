"""config.json as transformers 4 reads it too.

Version 5 keeps everything about rotary positions in `rope_parameters`, a key that version 4 does
not know: it would take its own default for the base frequency, without a word, and the model
would answer from wrong positions. Servers that still stand on version 4 read this folder too.
https://github.com/huggingface/transformers/blob/main/MIGRATION_GUIDE_V5.md
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FULL, _SLIDING = "full_attention", "sliding_attention"


def add_older_keys(directory: Path) -> None:
    """Add to `config.json` what transformers 4 calls the rotary parameters, beside version 5's.

    Keys that are there stay as they are; version 5 reads the file as before.
    """
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key, value in _older_keys(part.get("rope_parameters")).items():
            part.setdefault(key, value)
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    path.write_text(text, encoding="utf-8")


def _older_keys(rope: Any) -> dict[str, Any]:
    """`rope_theta` and the like; of one kind of layer, or of two (Gemma 3)."""
    if not isinstance(rope, dict):
        return {}
    full, sliding = rope.get(_FULL), rope.get(_SLIDING)
    if isinstance(full, dict):
        found = _older_keys(full)
        if isinstance(sliding, dict) and "rope_theta" in sliding:
            found["rope_local_base_freq"] = sliding["rope_theta"]
        return found
    found = {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    if rope.get("rope_type", "default") != "default":
        found["rope_scaling"] = {key: value for key, value in rope.items() if key not in found}
    return found
