"""Write the tables of `docs/scaling.md`: memory, speed and the command for each size of model.

`python -m scripts.scaling`. The text between the markers `<!-- table: NAME -->` and `<!-- end -->`
is replaced; everything else of the page is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tooltune.config.load import load_config
from tooltune.config.schema import Config
from tooltune.models.known_shapes import KNOWN, known_shape
from tooltune.models.shapes import ModelShape
from tooltune.train.sizing.activations import model_bytes
from tooltune.train.sizing.memory import GIB, GPUS_PER_NODE, Batch, MemoryEstimate, estimate_memory
from tooltune.train.sizing.throughput import DEVICES, UTILISATION, tokens_per_second

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "scaling.md"
EXAMPLE = ROOT / "examples" / "qwen2_5_3b_function_calling.yaml"
BATCH = Batch(tokens=4096, targets=1024)
_TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_FULL, _SELECTIVE = (f"--model.activation_checkpointing={kind}" for kind in ("full", "selective"))
_LORA, _QLORA = "--peft.dim=16", "--peft.quantization=nf4"
_BATCH = "--step_scheduler.global_batch_size=128"
_NVLINK, _FABRIC = 450e9, 50e9  # bytes a second and direction: NVLink 4, and 400 Gb/s for each GPU


@dataclass(frozen=True)
class Plan:
    """How a model of one size is trained: on how many GPUs of which kind, with which options."""

    model: str
    gpus: int
    options: tuple[str, ...] = ()
    device: str = "H100"

    @property
    def shape(self) -> ModelShape:
        shape = known_shape(self.model)
        assert shape is not None, self.model
        return shape

    @property
    def config(self) -> Config:
        return load_config(EXAMPLE, [f"--model={self.model}", *self.options])

    @property
    def estimate(self) -> MemoryEstimate:
        return estimate_memory(self.config, self.shape, self.gpus, BATCH)

    @property
    def room(self) -> int:
        """Tokens of the largest micro-batch that fits."""
        return self.estimate.tokens_within(DEVICES[self.device].memory)

    @property
    def command(self) -> str:
        words = ["train", "my.yaml", f"--model={self.model}", *self.options]
        nodes = self.gpus // GPUS_PER_NODE
        if nodes > 1:
            launcher = (
                f"torchrun --nnodes={nodes} --nproc-per-node={GPUS_PER_NODE} --rdzv-backend=c10d "
                "--rdzv-endpoint=$HEAD:29500 -m tooltune"
            )
            return " ".join([launcher, *words])
        if self.gpus > 1:
            words.insert(2, f"--nproc-per-node {self.gpus}")
        return " ".join(["tooltune", *words])


FULL = (
    Plan("Qwen/Qwen2.5-0.5B", 1),
    Plan("Qwen/Qwen2.5-1.5B", 1),
    Plan("Qwen/Qwen2.5-3B", 1, (_SELECTIVE,)),
    Plan("Qwen/Qwen2.5-7B", 8),
    Plan("Qwen/Qwen2.5-7B", 16, ("--distributed.dp_replicate_size=2",)),
    Plan("Qwen/Qwen2.5-14B", 8, (_SELECTIVE,)),
    Plan("Qwen/Qwen3-30B-A3B", 8, (_FULL,)),
    Plan("Qwen/Qwen2.5-32B", 8, (_FULL,), "H200"),
    Plan("Qwen/Qwen2.5-32B", 16, (_FULL,)),
    Plan("meta-llama/Llama-3.1-70B", 16, (_FULL,), "H200"),
    Plan("meta-llama/Llama-3.1-70B", 32, (_FULL, _BATCH)),
    Plan("meta-llama/Llama-3.1-70B", 64, (_FULL, _BATCH, "--distributed.dp_replicate_size=2")),
)
LORA = (
    Plan("Qwen/Qwen2.5-3B", 1, (_LORA, _FULL), "RTX 4090"),
    Plan("Qwen/Qwen2.5-7B", 1, (_LORA,)),
    Plan("Qwen/Qwen2.5-7B", 1, (_LORA, _QLORA, _FULL), "RTX 4090"),
    Plan("Qwen/Qwen2.5-7B", 8, (_LORA, "--distributed.strategy=ddp")),
    Plan("Qwen/Qwen2.5-14B", 1, (_LORA, _SELECTIVE)),
    Plan("Qwen/Qwen2.5-32B", 1, (_LORA, _FULL)),
    Plan("Qwen/Qwen2.5-32B", 8, (_LORA, _SELECTIVE)),
    Plan("meta-llama/Llama-3.1-70B", 1, (_LORA, _QLORA, _FULL)),
    Plan("meta-llama/Llama-3.1-70B", 8, (_LORA, _FULL)),
)


def page() -> str:
    """The document with its tables as they should be."""
    return _TABLE.sub(
        lambda match: f"{match[1]}{_TABLES[match[2]]()}\n{match[3]}", OUT.read_text("utf-8")
    )


def _parts() -> str:
    model = "Qwen/Qwen2.5-7B"
    plans = {
        "all weights, 1 GPU": Plan(model, 1),
        "2 GPUs": Plan(model, 2),
        "8 GPUs": Plan(model, 8),
        "8 GPUs, checkpointing full": Plan(model, 8, (_FULL,)),
        "LoRA, 1 GPU": Plan(model, 1, (_LORA,)),
        "QLoRA, 1 GPU": Plan(model, 1, (_LORA, _QLORA)),
    }
    estimates = {name: plan.estimate for name, plan in plans.items()}
    names = dict.fromkeys(item for one in estimates.values() for item in one.items)
    order = [name for name in next(iter(estimates.values())).items if name in names]
    order.insert(order.index("activations"), "gathered")
    lines = [_row(["GiB", *estimates]), _row(["---", *["---:"] * len(estimates)])]
    for name in order:
        lines.append(_row([name, *(_gib(one.items.get(name)) for one in estimates.values())]))
    lines.append(_row(["in all", *(_gib(one.total) for one in estimates.values())]))
    return "\n".join(lines)


def _per_token() -> str:
    head = ["model", "parameters", "none", "selective", "full"]
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    for name in KNOWN:
        shape = known_shape(name)
        assert shape is not None
        if name.startswith("gpt-oss"):  # attention with sinks: eager, which keeps its scores too
            continue
        sizes = (model_bytes(shape, 2, kind, None) for kind in ("none", "selective", "full"))
        cells = [f"{1000 * size / GIB:.2f}" for size in sizes]
        lines.append(_row([name, _billions(shape), *cells]))
    return "\n".join(lines)


def _sizes(plans: tuple[Plan, ...]) -> Callable[[], str]:
    head = ["model", "GPUs", "layout", "options", "GiB each", "micro-batch up to", "tokens/s"]

    def table() -> str:
        lines = [_row(head), "|---|---|---|---|---:|---:|---:|"]
        for plan in plans:
            options = "<br>".join(f"`{option}`" for option in plan.options) or "–"
            cells = [
                f"{plan.model.rpartition('/')[2]} ({_billions(plan.shape)})",
                f"{plan.gpus} {plan.device}",
                plan.estimate.layout,
                options,
                f"{plan.estimate.total / GIB:.0f}",
                f"{plan.room:,}",
                _speed(plan),
            ]
            lines.append(_row(cells))
        return "\n".join(lines)

    return table


def _speed(plan: Plan) -> str:
    low, high = tokens_per_second(
        plan.config,
        plan.shape,
        plan.gpus,
        DEVICES[plan.device],
        context=BATCH.tokens / 2,
        target_share=BATCH.targets / BATCH.tokens,
    )
    return f"{_two_digits(low)} to {_two_digits(high)}"


def _commands(plans: tuple[Plan, ...]) -> Callable[[], str]:
    def block() -> str:
        lines = []
        for plan in plans:
            name = plan.model.rpartition("/")[2]
            lines += [f"# {name} on {plan.gpus} {plan.device}", plan.command, ""]
        return "\n".join(["```", *lines[:-1], "```"])

    return block


def _traffic() -> str:
    """Tokens of a micro-batch whose computing takes as long as sending the weights."""
    peak = DEVICES["H100"].bfloat16 * UTILISATION[1]
    lines = [_row(["FSDP2 over", "bytes/s of each GPU", "tokens"]), "|---|---:|---:|"]
    for name, speed in (("one machine (NVLink)", _NVLINK), ("machines (400 Gb/s)", _FABRIC)):
        tokens = 8 / speed / (6 / peak)  # 8 bytes and 6 operations a parameter
        lines.append(_row([name, f"{speed / 1e9:.0f} GB/s", f"{_two_digits(tokens)}"]))
    return "\n".join(lines)


def _host() -> str:
    lines = [_row(["model", "all weights", "LoRA", "LoRA, DDP on 8 GPUs"]), "|---|---:|---:|---:|"]
    for name in ("Qwen2.5-3B", "Qwen2.5-7B", "Qwen2.5-32B", "Llama-3.1-70B"):
        plans = (
            Plan(name, 8),
            Plan(name, 8, (_LORA,)),
            Plan(name, 8, (_LORA, "--distributed.strategy=ddp")),
        )
        lines.append(_row([name, *(f"{plan.estimate.host / GIB:,.0f}" for plan in plans)]))
    return "\n".join(lines)


_TABLES: dict[str, Callable[[], str]] = {
    "parts": _parts,
    "per-token": _per_token,
    "full": _sizes(FULL),
    "full-commands": _commands(FULL),
    "lora": _sizes(LORA),
    "lora-commands": _commands(LORA),
    "traffic": _traffic,
    "host": _host,
}


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _gib(size: float | None) -> str:
    return "–" if size is None else f"{size / GIB:.1f}"


def _billions(shape: ModelShape) -> str:
    return f"{shape.parameters / 1e9:.2f} B"


def _two_digits(number: float) -> str:
    return f"{round(number, 2 - len(str(int(number)))):,.0f}"


if __name__ == "__main__":
    OUT.write_text(page(), encoding="utf-8")
