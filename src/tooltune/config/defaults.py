"""Defaults that depend on other keys, filled before validation so that `resolved` shows them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

LR_LORA = 2e-4
LR_FULL = 1e-5
LORA_DIM = 16
HELD_OUT_FRACTION = 0.1


def with_defaults(values: Mapping[str, Any], path: Path | None) -> dict[str, Any]:
    """Fill lr (by `peft`), alpha (= dim), the held-out part and the output folder (by file name).

    Values of a wrong type are left for the validation to name.
    """
    filled = dict(values)
    filled.setdefault("validation_dataset", {})
    if filled["validation_dataset"] == {}:
        filled["validation_dataset"] = {"fraction": HELD_OUT_FRACTION}
    if filled.get("output_dir") is None:
        filled["output_dir"] = f"runs/{path.stem if path else 'tooltune'}"
    peft = filled.get("peft")
    if isinstance(peft, Mapping) and peft.get("alpha") is None:
        dim = peft.get("dim", LORA_DIM)
        valid = isinstance(dim, int | float) and dim >= 1
        filled["peft"] = {**peft, "alpha": dim if valid else LORA_DIM}
    optimizer = filled.setdefault("optimizer", {})
    if isinstance(optimizer, Mapping) and optimizer.get("lr") is None:
        filled["optimizer"] = {**optimizer, "lr": LR_FULL if peft is None else LR_LORA}
    return filled
