"""What a resumed run needs to continue bitwise: random states, optimizer state, fp32 weights.

Tensors are stored in safetensors by parameter *name* (an index would silently fit another model)
and everything else in JSON, whose shortest-repr floats round-trip exactly.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tooltune.errors import UserError

_TRAINABLE = "trainable.safetensors"
_TENSORS = "optimizer.safetensors"
_SCALARS = "optimizer.json"


def rng_state() -> dict[str, Any]:
    """The global random states of Python, NumPy, torch CPU and every CUDA device, as JSON."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [str(kind), np.asarray(keys).tolist(), position, has_gauss, cached],
        "torch": _encode(torch.get_rng_state()),
        "cuda": [_encode(state) for state in torch.cuda.get_rng_state_all()],
    }


def restore_rng(state: Mapping[str, Any]) -> list[str]:
    """Restore what `rng_state` returned; return remarks on what this machine cannot restore."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(_decode(state["torch"]))
    saved, here = len(state["cuda"]), torch.cuda.device_count()
    for device in range(min(saved, here)):
        torch.cuda.set_rng_state(_decode(state["cuda"][device]), device)
    if saved == here:
        return []
    return [
        f"the checkpoint has random states of {saved} CUDA devices, this machine has {here}: "
        "the run continues, but not bitwise as it would have without the interruption"
    ]


def _encode(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode("ascii")


def _decode(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def save_trainable(parameters: Mapping[str, torch.Tensor], directory: Path) -> None:
    """Write named tensors (the fp32 masters of `MasterWeights.parameters()`) as they are.

    The consolidated copy cannot stand in for them: it may be rounded to bf16 or merged. A tied
    weight belongs here once, under its first name, as `named_parameters` lists it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    save_file(_plain(parameters), directory / _TRAINABLE)


def load_trainable(parameters: Mapping[str, torch.Tensor], directory: Path) -> None:
    """Copy saved tensors into `parameters`, in place. Call `MasterWeights.write_back` after.

    Raises `UserError` where names, shapes or dtypes are not those saved: another model.
    """
    path = directory / _TRAINABLE
    with safe_open(path, framework="pt", device="cpu") as file:
        saved = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        _require_same(
            {name: f"{list(piece.get_shape())}" for name, piece in saved.items()},
            {name: f"{list(tensor.shape)}" for name, tensor in parameters.items()},
            path,
        )
        with torch.no_grad():
            for name, tensor in parameters.items():
                loaded = file.get_tensor(name)
                _require_same({name: str(loaded.dtype)}, {name: str(tensor.dtype)}, path)
                tensor.copy_(loaded)


def save_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.Tensor], directory: Path
) -> None:
    """Write an optimizer's state: `optimizer.safetensors` (KEY/NAME) and `optimizer.json`.

    `parameters` names every parameter that the optimizer holds.
    """
    directory.mkdir(parents=True, exist_ok=True)
    names = _names(optimizer, parameters)
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{key}/{names[parameter]}"] = value
            else:
                scalars.setdefault(names[parameter], {})[key] = value
    groups = [
        {**group, "params": [names[parameter] for parameter in group["params"]]}
        for group in optimizer.param_groups
    ]
    save_file(_plain(tensors), directory / _TENSORS)
    saved = {"groups": groups, "shapes": _shapes(optimizer, names), "scalars": scalars}
    text = json.dumps(saved, indent=1, allow_nan=False)
    (directory / _SCALARS).write_text(text + "\n", encoding="utf-8")


def load_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.Tensor], directory: Path
) -> None:
    """Restore what `save_optimizer` wrote, bit for bit, group options (lr, betas, …) included.

    `Optimizer.load_state_dict` is not used: it matches by index and casts to the parameter dtype.
    Raises `UserError` where the groups hold other parameters, or ones of other shapes.
    """
    saved = json.loads((directory / _SCALARS).read_text(encoding="utf-8"))
    names = _names(optimizer, parameters)
    _require_same(saved["shapes"], _shapes(optimizer, names), directory / _SCALARS)
    for group, options in zip(optimizer.param_groups, saved["groups"], strict=True):
        for key, value in options.items():
            if key != "params":  # JSON has no tuples, torch has no lists here
                group[key] = tuple(value) if isinstance(value, list) else value
    optimizer.state.clear()
    for name, state in saved["scalars"].items():
        optimizer.state[parameters[name]].update(state)
    on_device = {
        name: bool(group.get("fused") or group.get("capturable"))
        for group in saved["groups"]
        for name in group["params"]
    }
    path = directory / _TENSORS
    with safe_open(path, framework="pt", device="cpu") as file:
        for full_name in file.keys():  # noqa: SIM118
            key, _, name = full_name.partition("/")
            tensor, parameter = file.get_tensor(full_name), parameters[name]
            # A plain AdamW keeps its step counter on the CPU, whatever the parameter's device.
            here = key != "step" or on_device[name]
            optimizer.state[parameter][key] = tensor.to(parameter.device) if here else tensor


def _names(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.Tensor]
) -> dict[torch.Tensor, str]:
    names = {parameter: name for name, parameter in parameters.items()}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert all(parameter in names for parameter in held), "the optimizer holds unnamed parameters"
    return names


def _shapes(optimizer: torch.optim.Optimizer, names: Mapping[torch.Tensor, str]) -> dict[str, str]:
    return {
        names[parameter]: f"{list(parameter.shape)} in group {i}"
        for i, group in enumerate(optimizer.param_groups)
        for parameter in group["params"]
    }


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Detached, dense in memory: what safetensors can write."""
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _require_same(saved: Mapping[str, str], here: Mapping[str, str], path: Path) -> None:
    """Raise `UserError` with the first differences between what is saved and what is here."""
    if saved == here:
        return
    differences = [f"{name} is not in the checkpoint" for name in here if name not in saved]
    differences += [f"{name} is not in this model" for name in saved if name not in here]
    differences += [
        f"{name} is {saved[name]} in the checkpoint, {here[name]} here"
        for name in here
        if name in saved and saved[name] != here[name]
    ]
    shown = "; ".join(differences[:3]) + (f"; {len(differences) - 3} more" * (len(differences) > 3))
    raise UserError(
        f"{path} is a checkpoint of another model: {shown}",
        fix="resume with the model and peft settings that the run was started with, "
        "or start a new run in another folder",
    )
