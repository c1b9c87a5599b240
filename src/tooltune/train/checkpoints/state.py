"""The fp32 masters and the optimizer's state of a run, bit for bit, on any number of ranks.

```
optim/shard-RRRRR-model-FFFFF-of-NNNNN.safetensors   what rank R wrote: a piece of each tensor
optim/optimizer.json                                 everything that is no tensor with dimensions
```
Pieces are written and put together by torch's distributed checkpointing (DCP): a rank writes its
own shard, of whole tensors that all ranks hold each is written once, and a run on another number
of ranks reads just the pieces that its shards need. Where a piece belongs stands in the header of
its file (`DCP_SHARDING_INFO`); DCP's usual `.metadata` would be a pickle, this storage has none.
Tensors are called by parameter *name* (an index would silently fit another model). JSON's
shortest-repr floats round-trip exactly.
https://docs.pytorch.org/docs/stable/distributed.checkpoint.html
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from tooltune.errors import UserError
from tooltune.train.checkpoints.meeting import ALONE, Meeting

_DOCUMENT = "optimizer.json"
_FILE_BYTES = 1 << 30  # a file is put together in memory, twice its size, before it is written


@dataclass(frozen=True, slots=True)
class TrainingTensors:
    """What is saved: `tensors` by name (`master/NAME`, `optimizer/KEY/NAME`), and the rest."""

    tensors: dict[str, Tensor]
    document: dict[str, Any]


def save_training_tensors(
    masters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    directory: Path,
    world: Meeting = ALONE,
) -> None:
    """Write the fp32 masters, by name, and the state of the optimizer that holds them.

    The consolidated copy cannot stand in for the masters: it may be rounded to bf16 or merged.
    A tied weight belongs here once, under its first name, as `named_parameters` lists it.
    Sharded tensors (DTensor) are written by the ranks that hold them. Every rank must call.
    """
    write_training_tensors(training_tensors(masters, optimizer), directory, world)


def training_tensors(
    masters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, *, copy: bool = False
) -> TrainingTensors:
    """What `write_training_tensors` writes; with `copy` on the CPU, so that training may go on."""
    names = _names(optimizer, masters)
    tensors = {f"master/{name}": tensor for name, tensor in masters.items() if tensor.ndim}
    state: dict[str, dict[str, Any]] = {}
    for parameter, values in optimizer.state.items():
        name = names[parameter]
        state[name] = {key: _entry(value) for key, value in values.items()}
        for key, value in values.items():
            if isinstance(value, Tensor) and value.ndim:
                tensors[f"optimizer/{key}/{name}"] = value
    document = {
        "masters": {name: _entry(tensor) for name, tensor in masters.items()},
        "groups": [
            {**group, "params": [names[parameter] for parameter in group["params"]]}
            for group in optimizer.param_groups
        ],
        "state": state,
    }
    taken = _copied if copy else _plain
    return TrainingTensors({name: taken(tensor) for name, tensor in tensors.items()}, document)


def write_training_tensors(state: TrainingTensors, directory: Path, world: Meeting = ALONE) -> None:
    """Write `state` into `directory`. Every rank must call; what fails on one is raised on all."""
    error: OSError | None = None
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as problem:  # the others must not start without this rank
        error = problem
    world.agree(error, "making a folder of a checkpoint")
    writer = HuggingFaceStorageWriter(
        str(directory), _file_of_each(state.tensors, world), save_distributed=True
    )
    with _plain_errors():
        save(
            state.tensors,
            storage_writer=writer,
            process_group=world.group,
            no_dist=world.size == 1,
        )
    if world.is_main:
        text = json.dumps(state.document, indent=1, allow_nan=False)
        (directory / _DOCUMENT).write_text(text + "\n", encoding="utf-8")


def load_training_tensors(
    masters: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    directory: Path,
    world: Meeting = ALONE,
) -> None:
    """Restore what was saved: masters in place, the optimizer's state, group options (lr, …).

    On as many ranks or as few as there are, whatever their number was. Call
    `MasterWeights.write_back` after. `Optimizer.load_state_dict` is not used: it matches by index
    and casts to the parameter's dtype. Every rank must call.

    Raises: UserError, before anything is changed, where names, shapes, dtypes or groups are not
    those saved (another model), or where the files are not whole; on every rank.
    """
    document, error = None, None
    try:
        document = _checked_document(masters, optimizer, directory)
    except Exception as problem:
        error = problem
    world.agree(error, "reading the training state")
    assert document is not None
    optimizer.state.clear()
    on_device = _keep_counters_on_device(document)
    tensors = {f"master/{name}": tensor for name, tensor in masters.items() if tensor.ndim}
    for name, entries in document["state"].items():
        for key, entry in entries.items():
            # A plain AdamW keeps its step counter on the CPU, whatever the parameter's device.
            device = None if key != "step" or on_device[name] else torch.device("cpu")
            value = _made(entry, masters[name], device)
            optimizer.state[masters[name]][key] = value
            if isinstance(value, Tensor) and value.ndim:
                tensors[f"optimizer/{key}/{name}"] = value
    with _plain_errors():
        load(
            {name: tensor.detach() for name, tensor in tensors.items()},
            storage_reader=HuggingFaceStorageReader(str(directory)),
            process_group=world.group,
            no_dist=world.size == 1,
        )
    with torch.no_grad():
        for name, entry in document["masters"].items():
            if "value" in entry:
                masters[name].fill_(entry["value"])
    for group, options in zip(optimizer.param_groups, document["groups"], strict=True):
        for key, value in options.items():
            if key != "params":  # JSON has no tuples, torch has no lists here
                group[key] = tuple(value) if isinstance(value, list) else value


def _checked_document(
    masters: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, directory: Path
) -> dict[str, Any]:
    """The saved document, if it and the pieces beside it fit what is here."""
    here = training_tensors(masters, optimizer).document
    try:
        document: dict[str, Any] = json.loads((directory / _DOCUMENT).read_bytes())
        there = _shown(document)
        pieces = HuggingFaceStorageReader(str(directory)).read_metadata().state_dict_metadata
    except Exception as error:  # a file that is missing, truncated or of another kind
        raise _damaged(directory, f"{type(error).__name__}: {error}") from error
    _require_same(there, _shown(here), directory)
    expected = dict(_expected(document))
    for name in expected.keys() ^ pieces.keys():
        raise _damaged(directory, f"{name} is in only one of {_DOCUMENT} and the shards")
    for name, (shape, dtype) in expected.items():
        piece = pieces[name]
        assert isinstance(piece, TensorStorageMetadata)
        volume = sum(math.prod(chunk.sizes) for chunk in piece.chunks)
        found = list(piece.size), str(piece.properties.dtype)
        if found != (shape, dtype) or volume != math.prod(shape):
            raise _damaged(directory, f"the pieces of {name} do not make a {dtype} of {shape}")
    return document


def _expected(document: Mapping[str, Any]) -> Iterator[tuple[str, tuple[list[int], str]]]:
    for name, entry in document["masters"].items():
        if "shape" in entry:
            yield f"master/{name}", (entry["shape"], entry["dtype"])
    for name, entries in document["state"].items():
        for key, entry in entries.items():
            if isinstance(entry, dict) and "shape" in entry:
                yield f"optimizer/{key}/{name}", (entry["shape"], entry["dtype"])


def _entry(value: Any) -> Any:
    """What the document says of a value: of a tensor its type and shape, or, of none, its value."""
    if not isinstance(value, Tensor):
        return {"plain": value}
    dtype = str(value.dtype)
    if value.ndim:
        return {"dtype": dtype, "shape": list(value.shape)}
    return {"dtype": dtype, "value": (_local(value)).item()}


def _made(entry: Mapping[str, Any], parameter: Tensor, device: torch.device | None) -> Any:
    """The inverse of `_entry`, on `device` (default: the parameter's); contents are still to come.

    What has the shape of its parameter is sharded like it, the rest is whole on every rank.
    """
    if "plain" in entry:
        return entry["plain"]
    dtype = getattr(torch, entry["dtype"].removeprefix("torch."))
    device = device or parameter.device
    if "value" in entry:
        return torch.tensor(entry["value"], dtype=dtype, device=device)
    if entry["shape"] == list(parameter.shape):
        return torch.empty_like(parameter.detach(), dtype=dtype)
    return torch.empty(entry["shape"], dtype=dtype, device=device)


def _keep_counters_on_device(document: Mapping[str, Any]) -> dict[str, bool]:
    return {
        name: bool(group.get("fused") or group.get("capturable"))
        for group in document["groups"]
        for name in group["params"]
    }


def _names(optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> dict[Tensor, str]:
    names = {parameter: name for name, parameter in parameters.items()}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    assert all(parameter in names for parameter in held), "the optimizer holds unnamed parameters"
    return names


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _plain(tensor: Tensor) -> Tensor:
    """Detached, dense in memory: what safetensors can write."""
    return tensor.detach().contiguous()


def _copied(tensor: Tensor) -> Tensor:
    """A copy on the CPU; of a sharded tensor each rank's own shard, under the same mesh."""
    return tensor.detach().to("cpu", copy=True).contiguous()


def _file_of_each(tensors: Mapping[str, Tensor], world: Meeting) -> dict[str, int] | None:
    """Which of a rank's files, from 1, holds (its piece of) each tensor."""
    files: dict[str, int] = {}
    file, filled = 1, 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size() // world.size
        if filled and filled + size > _FILE_BYTES:
            file, filled = file + 1, 0
        files[name], filled = file, filled + size
    return files or None


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What DCP raises as the error that it was: `CheckpointException` is no `Exception`, and a
    full disk should be seen as one. On every rank that of the first rank at fault."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")
        try:
            yield
        except CheckpointException as failure:
            _, (error, _) = min(failure.failures.items())
            raise error from failure


def _shown(document: Mapping[str, Any]) -> dict[str, str]:
    """What must be the same here as in the checkpoint, for people to read."""
    groups = {n: i for i, group in enumerate(document["groups"]) for n in group["params"]}
    return {
        name: f"{entry['dtype']} {entry.get('shape', [])} in group {groups.get(name)}"
        for name, entry in document["masters"].items()
    }


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


def _damaged(directory: Path, problem: str) -> UserError:
    return UserError(
        f"the training state in {directory} is not whole: {problem}",
        fix=f"delete {directory.parent}: the run resumes from the checkpoint before it",
    )
