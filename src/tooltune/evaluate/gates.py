"""Is a model worse than another? The question a pull request is held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tooltune.evaluate.comparison_section import PREFIX
from tooltune.evaluate.comparison_words import SIGNIFICANT, p_value

Row = Mapping[str, Any]

GATED = ("accuracy", "abstain_accuracy")
"""What must not get worse: calling right, and not calling where none is wanted."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a metric `failed` to be as good as before, and a line that says why, or why not."""

    failed: bool
    text: str


def worse_gates(comparison: Row) -> list[Gate]:
    """One gate for each metric of `GATED` that was measured, of each evaluation against the base.

    A metric is worse if its difference is below 0 and the sign-flip test by conversation finds
    that at p < 0.05, with several evaluations after Holm's adjustment. That takes 6 conversations
    that differ: the line says where there are too few for it to fail at all. Nothing measured is
    a failure.
    """
    if "comparisons" in comparison:
        return [gate for pair in comparison["comparisons"] for gate in worse_gates(pair)]
    gates = [
        _gate(name, comparison[PREFIX + name], comparison)
        for name in GATED
        if PREFIX + name in comparison
    ]
    told = f"neither accuracy nor abstain_accuracy of {comparison['tuned_name']} was measured"
    return gates or [Gate(True, told)]


def _gate(name: str, entry: Row, comparison: Row) -> Gate:
    p = entry.get("sign_flip_p_holm", entry["sign_flip_p"])
    failed = bool(entry["difference"] < 0 and p < SIGNIFICANT)
    verdict = "is significantly worse than" if failed else "is not significantly worse than"
    before, after = comparison["base_name"], comparison["tuned_name"]
    text = (
        f"{name} of {after} {verdict} that of {before}: {entry['tuned']:.3f} against "
        f"{entry['base']:.3f}, difference {entry['difference']:+.3f}, p {_relation(p)}"
    )
    if 2 * 0.5 ** comparison["n_groups"] >= SIGNIFICANT:
        text += f" ({comparison['n_groups']} conversations are too few to show any difference)"
    return Gate(failed, text)


def _relation(p: float) -> str:
    shown = p_value(p)
    return f"< {shown[1:]}" if shown.startswith("<") else f"= {shown}"


def tuned_metrics(comparison: Row) -> dict[str, float]:
    """The tuned side's metrics as metrics.json names them, of the samples that were compared."""
    metrics = _values(comparison, PREFIX)
    for name, section in comparison["datasets"].items():
        metrics |= _values(section, f"{PREFIX}{name}/")
    return metrics


def _values(section: Row, prefix: str) -> dict[str, float]:
    return {
        prefix + key.removeprefix(PREFIX): entry["tuned"]
        for key, entry in section.items()
        if key.startswith(PREFIX)
    }
