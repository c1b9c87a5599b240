"""GGUF through llama.cpp's own converter, where it is found; else the commands to give.

https://github.com/ggml-org/llama.cpp: `convert_hf_to_gguf.py` writes the types of `CONVERTED`
itself, `llama-quantize` makes the others from a 16-bit file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tooltune.errors import UserError

SCRIPT, QUANTIZER = "convert_hf_to_gguf.py", "llama-quantize"
CONVERTED = ("f32", "f16", "bf16", "q8_0", "auto")
QUANTIZED = (
    *("q2_k", "q3_k_s", "q3_k_m", "q3_k_l", "q4_0", "q4_1", "q4_k_s", "q4_k_m"),
    *("q5_0", "q5_1", "q5_k_s", "q5_k_m", "q6_k", "iq4_xs", "iq4_nl"),
)
_BETWEEN = "bf16"  # what a quantised file is made from: the type that models are saved in
_REQUIREMENTS = "pip install -r llama.cpp/requirements/requirements-convert_hf_to_gguf.txt"
_PLACES = ("", "build/bin", "bin")


@dataclass(frozen=True, slots=True)
class GgufPlan:
    """The commands that make `file` in the folder of a model, run in order.

    `missing` names what was not found; then the commands say where it would lie.
    """

    file: Path
    commands: tuple[tuple[str, ...], ...]
    between: Path | None
    missing: tuple[str, ...]


def plan_gguf(folder: Path, name: str, kind: str, llama_cpp: Path | None) -> GgufPlan:
    """How a model folder becomes `name-KIND.gguf` inside it.

    `llama_cpp` is a checkout of llama.cpp; by default `$LLAMA_CPP_DIR`, then what is in PATH.
    Raises: UserError for an unknown type and for a `llama_cpp` that is no folder.
    """
    kind = check_type(kind)
    root = _checkout(llama_cpp)
    script, quantizer = _find(root, SCRIPT), _find(root, QUANTIZER)
    file = folder / f"{name}-{kind.upper()}.gguf"
    quantised = kind in QUANTIZED
    between = folder / f"{name}-{_BETWEEN.upper()}.gguf" if quantised else None
    converter = str(script or f"llama.cpp/{SCRIPT}")
    outtype = _BETWEEN if quantised else kind
    target = ("--outfile", str(between or file), "--outtype", outtype)
    commands: list[tuple[str, ...]] = [(*_python(script), converter, str(folder), *target)]
    missing = [] if script else [SCRIPT]
    if between is not None:
        program = str(quantizer or f"llama.cpp/build/bin/{QUANTIZER}")
        commands.append((program, str(between), str(file), kind.upper()))
        missing += [] if quantizer else [QUANTIZER]
    return GgufPlan(file, tuple(commands), between, tuple(missing))


def check_type(kind: str) -> str:
    """The type in lower case. Raises: UserError for one that llama.cpp does not make."""
    known = kind.lower().replace("-", "_")
    if known not in (*CONVERTED, *QUANTIZED):
        raise UserError(
            f"--gguf {kind}: no type of GGUF that is known here",
            fix=f"use one of {', '.join((*CONVERTED, *QUANTIZED))}",
        )
    return known


def make_gguf(plan: GgufPlan) -> str | None:
    """Run a plan that misses nothing; None, or what went wrong. Half a file is never left."""
    assert not plan.missing
    try:
        for command in plan.commands:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
            if done.returncode != 0:
                plan.file.unlink(missing_ok=True)
                return f"{_program(command)} failed ({done.returncode}): {_end(done.stderr)}"
    except OSError as error:
        plan.file.unlink(missing_ok=True)
        return str(error)
    finally:
        if plan.between is not None:
            plan.between.unlink(missing_ok=True)
    return None if plan.file.is_file() else f"no {plan.file.name} was written"


def install_commands(quantised: bool) -> list[str]:
    """What gets llama.cpp's tools, as its documentation says."""
    lines = [
        "git clone https://github.com/ggml-org/llama.cpp",
        _REQUIREMENTS,
    ]
    build = "cmake -S llama.cpp -B llama.cpp/build && cmake --build llama.cpp/build --target "
    return [*lines, build + QUANTIZER] if quantised else lines


def _checkout(given: Path | None) -> Path | None:
    named = given or os.environ.get("LLAMA_CPP_DIR")
    if not named:
        return None
    root = Path(named).expanduser()
    if not root.is_dir():
        source = "--llama-cpp" if given else "LLAMA_CPP_DIR"
        raise UserError(f"{source} {root}: no such folder", fix="give a checkout of llama.cpp")
    return root


def _find(root: Path | None, name: str) -> Path | None:
    if root is not None:
        places = (root / place / name for place in _PLACES)
        return next((place for place in places if place.is_file()), None)
    found = shutil.which(name)
    return Path(found) if found else None


def _python(script: Path | None) -> tuple[str, ...]:
    """The converter is a Python script; one that was installed into PATH runs by itself."""
    if script is None:
        return ("python",)
    return (sys.executable,) if script.suffix == ".py" else ()


def _program(command: tuple[str, ...]) -> str:
    names = [Path(word).name for word in command[:2]]
    return next(name for name in reversed(names) if name in (SCRIPT, QUANTIZER))


def _end(text: str) -> str:
    """The last line that a program said; what to install where that is what it lacks."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = lines[-1][:400] if lines else "it said nothing"
    if last.startswith("ModuleNotFoundError"):
        last += f"; install what it needs: {_REQUIREMENTS}"
    return last
