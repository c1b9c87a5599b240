"""The part of `tooltune check` about GPUs: memory, what fits, and how fast it may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from tooltune.cli.output import (
    command_line,
    console,
    print_json,
    print_next,
    printable,
    say,
)

if TYPE_CHECKING:
    from tooltune.config.schema import Config
    from tooltune.train.data import RunData
    from tooltune.train.sizing.scale import Workload
    from tooltune.train.sizing.throughput import Device

_DEFAULT_GPUS = (1, 8)
_GPUS_FIX = "write numbers such as --gpus 1,8"
_LABELS = {
    "weights": "weights",
    "masters": "fp32 masters",
    "gradients": "gradients",
    "optimizer": "AdamW moments",
    "gathered": "gathered blocks",
    "activations": "activations",
    "scores": "attention scores",
    "logits": "logits of targets",
    "backward": "backward pass",
    "reserve": "CUDA, fragments",
}
_USUAL = "H100"  # that the time of a run is told for
_COLUMN = 22  # at least
_APART = 2  # spaces between columns
_LABEL = 20


def gpu_counts(text: str | None) -> list[int]:
    """The numbers of `--gpus`, ascending; by default 1, 8 and how many this machine has.

    Raises UserError for anything but positive whole numbers.
    """
    from tooltune.errors import UserError

    if text is None:
        import torch

        return sorted({*_DEFAULT_GPUS, torch.cuda.device_count()} - {0})
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() and 0 < int(word) <= 100_000 for word in words):
        raise UserError(f"--gpus {text!r} is no list of numbers of GPUs", fix=_GPUS_FIX)
    return sorted({int(word) for word in words})


def describe_gpus(
    config: Config, gpus: str | None, workload: Workload, *, offline: bool
) -> dict[str, Any]:
    """What the run needs on each number of GPUs.

    Raises UserError for a model whose shape is unknown, and where the config has no place for any
    of the numbers.
    """
    from tooltune.errors import UserError
    from tooltune.models.shapes import shape_of
    from tooltune.train.sizing.scale import describe_scale

    counts = gpu_counts(gpus)
    shape = shape_of(config.model.pretrained_model_name_or_path, offline=offline)
    described = describe_scale(config, shape, counts, workload, _here())
    refused = [one for one in described["gpus"] if "problem" in one]
    if len(refused) == len(counts):
        asked = "" if gpus is None else f"--gpus {gpus}: "
        raise UserError(asked + refused[-1]["problem"], fix=refused[-1]["fix"])
    return described


def describe_memory(config: Config, data: RunData, gpus: str | None) -> dict[str, Any] | None:
    """What a run on `data` needs on GPUs.

    None where the model's shape cannot be told; raises UserError for that if `gpus` asks for it.
    """
    from tooltune.errors import UserError
    from tooltune.train.sizing.scale import workload_of

    try:
        return describe_gpus(config, gpus, workload_of(config, data), offline=False)
    except UserError as error:
        if gpus is not None:
            raise
        say(f"no memory estimate: {error.message}")
        return None


def check_shapes(
    config: Config,
    gpus: str | None,
    given: dict[str, Any],
    again: list[str],
    *,
    as_json: bool,
) -> None:
    """`check --offline-shapes`: the estimate alone, with neither data nor tokenizer.

    Raises UserError for `given` options that need the data, and as `describe_gpus` does.
    """
    from tooltune.errors import UserError
    from tooltune.train.sizing.scale import assumed_workload

    for option, value in given.items():
        if value is not None:
            raise UserError(
                f"{option} needs the data, and --offline-shapes reads none",
                fix=f"leave out --offline-shapes or {option}",
            )
    memory = describe_gpus(config, gpus, assumed_workload(config), offline=True)
    if as_json:
        print_json({"memory": memory})
        return
    print_gpus(memory)
    check = command_line("tooltune", "check", *again)
    print_next([(check, "the same for your data: rows, findings, lengths, steps")])


def _here() -> Device | None:
    """The first CUDA device of this machine."""
    import torch

    from tooltune.train.sizing.throughput import Device, device_named

    if not torch.cuda.is_available():
        return None
    facts = torch.cuda.get_device_properties(0)
    known = device_named(facts.name)
    peaks = (known.bfloat16, known.float32) if known else (0.0, 0.0)
    return Device(facts.name, float(facts.total_memory), *peaks)


def print_gpus(described: dict[str, Any]) -> None:
    """The estimates as a table of one column for each number of GPUs, and what is not in order."""
    model, batch = described["model"], described["micro_batch"]
    trained = model["trained_parameters"]
    share = "all trained" if trained == model["parameters"] else f"{_count(trained)} trained"
    active = model["active_parameters"]
    share += "" if active == model["parameters"] else f", {_count(active)} active for each token"
    _line(
        "model",
        f"{_data(model['name'])}: {_count(model['parameters'])} parameters, {share}; "
        f"{model['layers']} layers of {model['hidden']:,} ({_data(model['source'])})",
    )
    _line(
        "assumed",
        f"a micro-batch of {batch['tokens']:,} tokens, {batch['targets']:,} of them targets: "
        f"{_data(batch['why'])}",
    )
    _line("memory", "of each GPU in GiB, estimated (docs/scaling.md says how)")
    possible = [one for one in described["gpus"] if "problem" not in one]
    if possible:
        _print_table(possible)
    for one in described["gpus"]:
        _print_remarks(one)
    if described["total_tokens"] is not None and possible:
        _print_duration(described["total_tokens"], possible)


def _print_table(columns: list[dict[str, Any]]) -> None:
    rows = [("", [_gpus(one["gpus"]) for one in columns], "bold")]
    for name, label in _LABELS.items():
        sizes = [one["items_gib"].get(name) for one in columns]
        if any(size is not None for size in sizes):
            rows.append((label, ["–" if size is None else _gib(size) for size in sizes], ""))
    rows.append(("in all", [f"{one['total_gib']:,.1f}" for one in columns], "bold"))
    for name in columns[0]["fits"]:
        cells = []
        for one in columns:
            fits, tokens = one["fits"][name], one["tokens_that_fit"][name]
            less = f"[yellow]no, {tokens:,} tokens do[/]" if tokens else "[yellow]no[/]"
            cells.append(f"[green]to {tokens:,} tokens[/]" if fits else less)
        rows.append((f"fits {_data(name)}", cells, ""))
    for name in columns[0]["tokens_per_second"]:
        bounds = [one["tokens_per_second"][name] for one in columns]
        speeds = [f"{_round(a)} to {_round(b)}" for a, b in bounds]
        rows.append((f"tokens/s, {_data(name)}", speeds, ""))
    to_load = [f"{one['host_gib']:,.1f} GiB" for one in columns]
    rows.append(("main memory to load", to_load, ""))
    width = max(_COLUMN, _APART + max(_width(cell) for _, cells, _ in rows for cell in cells))
    for label, cells, style in rows:
        padded = "".join(" " * (width - _width(cell)) + cell for cell in cells)
        console.print(f"{'':10}{label:<{_LABEL}}{padded}", style=style or None)


def _width(cell: str) -> int:
    """Columns of a terminal that a cell takes, its markup apart."""
    return len(console.render_str(cell).plain)


def _print_remarks(one: dict[str, Any]) -> None:
    count = _gpus(one["gpus"])
    if "problem" in one:
        _line(
            "cannot",
            f"[yellow]{count}: {_data(one['problem'])}[/]\n{'':10}fix: {_data(one['fix'])}",
        )
        return
    _line("layout", f"{count}: {one['layout']}")
    if one["to_fit_80_gb"]:
        _line("to fit", f"{count} of 80 GB, one of:")
        for change in one["to_fit_80_gb"]:
            left = "" if change["fits"] else ", [yellow]still too much[/]"
            console.print(
                f"{'':10}{_data(change['options'])}: {change['total_gib']:,.1f} GiB{left}"
            )
    if one["idle_gpus"]:
        _line("idle", f"[yellow]{count}: a step has fewer traces than there are GPUs[/]")


def _print_duration(total: int, columns: list[dict[str, Any]]) -> None:
    spans = []
    for one in columns:
        low, high = one["tokens_per_second"][_USUAL]
        spans.append(f"{_gpus(one['gpus'])} {_time(total / high)} to {_time(total / low)}")
    said = f"{total:,} tokens, evaluation apart, on {_USUAL}s (estimate): {', '.join(spans)}"
    _line("time", said)


def _gpus(count: int) -> str:
    return f"{count} GPU" if count == 1 else f"{count} GPUs"


def _gib(size: float) -> str:
    return f"{size:,.1f}" if size >= 0.95 else f"{size:.2f}"


def _count(parameters: int) -> str:
    if parameters >= 1e9:
        return f"{parameters / 1e9:.2f} B"
    return f"{parameters / 1e6:,.1f} M"


def _round(number: float) -> str:
    """Two significant digits: an estimate has no more."""
    digits = max(0, len(str(int(number))) - 2)
    return f"{round(number, -digits):,.0f}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:,.1f} h"


def _line(name: str, text: str) -> None:
    console.print(f"[bold]{name:<10}[/]{text}")


def _data(text: str) -> str:
    return escape(printable(text))
