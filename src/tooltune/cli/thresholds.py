"""`--fail-under METRIC=VALUE`, `--fail-if-worse`: what is found wanting exits with code 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tooltune.cli.output import EXIT_FAILED, errors, printable, say
from tooltune.errors import UserError

if TYPE_CHECKING:
    from tooltune.evaluate.evaluation_file import Record
    from tooltune.evaluate.gates import Gate

Thresholds = Mapping[str, float]


def read_thresholds(texts: Sequence[str]) -> Thresholds:
    """`{"tool_call/accuracy": 0.8}` of `["accuracy=0.8"]`. Raises: UserError."""
    from tooltune.evaluate.scores import METRICS

    known = [*METRICS, "balanced_accuracy"]
    thresholds = {}
    for text in texts:
        name, _, value = text.partition("=")
        name = name.strip().removeprefix("tool_call/")
        last = name.rsplit("/", 1)[-1]  # NAME/accuracy is that of another data set
        if last not in known and not last.startswith(("pass@", "pass^")):
            raise UserError(
                f"--fail-under {text}: there is no metric {name!r}",
                fix=f"use one of {', '.join(known)}",
            )
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number <= 1:
            raise UserError(
                f"--fail-under {text}: the threshold is no number from 0 to 1",
                fix="write it as --fail-under accuracy=0.8",
            )
        thresholds[f"tool_call/{name}"] = number
    return thresholds


@dataclass(frozen=True, slots=True)
class Earlier:
    """The evaluation of `--fail-if-worse-than`, read before anything is generated, or none."""

    name: str
    records: Sequence[Record] = ()

    @staticmethod
    def read(folder: Path | None) -> Earlier:
        """Raises: UserError for a folder that holds no evaluation."""
        from tooltune.evaluate.evaluation_file import load_evaluation

        return Earlier("") if folder is None else Earlier(str(folder), load_evaluation(folder))

    def gates(self, records: Sequence[Record], model: str) -> list[Gate]:
        """Whether `records` are worse; nothing without an evaluation to compare them with.

        Raises: UserError where it is of other samples.
        """
        if not self.name:
            return []
        from tooltune.evaluate.compare import compare_evaluations
        from tooltune.evaluate.gates import worse_gates

        return worse_gates(compare_evaluations(self.records, records, self.name, model))


def hold_to(thresholds: Thresholds, metrics: Mapping[str, Any], gates: Sequence[Gate] = ()) -> None:
    """Say what is under its threshold, or worse than before; exit with code 1 if anything is."""
    judge(shortfalls(thresholds, metrics), gates)


def shortfalls(thresholds: Thresholds, metrics: Mapping[str, Any]) -> list[str]:
    """One line for each metric that is under its threshold, or not there."""
    failed = []
    for name, least in thresholds.items():
        value = metrics.get(name)
        if value is None:
            failed.append(f"{name} was not measured: no sample speaks about it")
        elif value < least:
            failed.append(f"{name} is {value:.4f}, under {least:g}")
    return failed


def judge(failed: Sequence[str], gates: Sequence[Gate]) -> None:
    """One line for all that failed and each gate that did not; exit with code 1 if anything did."""
    for gate in gates:
        if not gate.failed:
            say(f"passed: {gate.text}")
    lines = [*failed, *(gate.text for gate in gates if gate.failed)]
    for line in lines:
        errors.print(f"failed: {printable(line)}", style="bold red", markup=False)
    if lines:
        raise typer.Exit(EXIT_FAILED)
