"""What a ZeRO-2 optimiser resumes from, on any number of workers: float32 weights and moments in safetensors.

DeepSpeed lays the parameters of a group end to end, fills up with zeros to a multiple of the workers and gives each
worker one part. So the parts of all workers, laid end to end and cut again, are what any other number of workers
would hold, bit for bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file

from memo_ray.artifacts.place import Place, local_folder
from memo_ray.errors import TrainingError

LAYOUT = "layout.json"
FILE = "zero.safetensors"
MASTER, STEP = "master", "step"


def part_name(rank: int) -> str:
    """The stored folder of a worker's part."""
    return f"worker-{rank:05d}"


def layout_of(engine: Any) -> list[dict[str, Any]]:
    """Each group's `parameters` (their sizes by name, in order) and the size of a worker's `part` of it."""
    zero = engine.optimizer
    names = {id(parameter): name for name, parameter in engine.module.named_parameters()}
    return [
        {"part": part.numel(), "parameters": {names[id(one)]: one.numel() for one in group}}
        for group, part in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True)
    ]


def part_of(engine: Any) -> dict[str, torch.Tensor]:
    """This worker's own tensors, by group and what they are; no moments before the first step."""
    zero, found = engine.optimizer, {}
    for group, master in enumerate(zero.single_partition_of_fp32_groups):
        found[f"{group}.{MASTER}"] = master
        found |= {f"{group}.{name}": value for name, value in zero.optimizer.state.get(master, {}).items()}
    return found


def save_part(part: dict[str, torch.Tensor], state: Place) -> None:
    """Write this worker's part (in host memory) to `state`; on a disk it is there to stay when this returns."""
    with state.storing(part_name(dist.get_rank())) as folder:
        save_file(part, folder / FILE)
        with (folder / FILE).open("rb") as file:
            os.fsync(file.fileno())


def save_layout(engine: Any, state: Place, recipe: Mapping[str, Any]) -> None:
    """Write how the parts of all workers lie, and by which `recipe` they came about."""
    layout = {"workers": dist.get_world_size(), "groups": layout_of(engine), "recipe": recipe}
    state.put(LAYOUT, json.dumps(layout).encode())


def restore(engine: Any, state: Place, recipe: Mapping[str, Any]) -> None:
    """Put the engine back to where `state` was taken, by however many workers; all workers call this.

    Raises TrainingError when it is the state of other parameters or of another `recipe`.
    """
    content = state.get(LAYOUT)
    saved, mine = json.loads(content or b"{}"), layout_of(engine)
    same = [group["parameters"] for group in saved.get("groups", [])] == [group["parameters"] for group in mine]
    theirs = saved.get("recipe", {})
    other = sorted(key for key in {*theirs, *recipe} if theirs.get(key) != recipe.get(key))
    if not same or other:
        what = f"recipe ({', '.join(other)})" if other else "model"
        raise TrainingError(
            f"training: {state.url}: is the state of another {what}; use the settings that it was made with, "
            "or another `root`"
        )
    zero = engine.optimizer
    for number, master in enumerate(zero.single_partition_of_fp32_groups):
        found = share_of(state, number, saved["workers"], saved["groups"][number]["part"], master.numel())
        master.data.copy_(found.pop(MASTER))
        if found:  # else no step had been taken
            zero.optimizer.state[master] = {name: value.to(master.device) for name, value in found.items()}
    zero.update_lp_params()


def share_of(state: Place, group: int, workers: int, size: int, mine: int) -> dict[str, torch.Tensor]:
    """This worker's `mine` elements of each tensor of a group of which `workers` wrote parts of `size` elements.

    Only the parts that it needs are fetched.
    """
    first = dist.get_rank() * mine
    found: dict[str, torch.Tensor] = {}
    # Parts end in zeros, of which another number of workers has more or less: one may begin behind all there is.
    for number in range(min(first // size, workers - 1), min(-(-(first + mine) // size), workers)):
        begin, end = (min(max(place - number * size, 0), size) for place in (first, first + mine))
        with opened(state, number) as part:
            for key in part.keys():  # noqa: SIM118
                owner, _, name = key.partition(".")
                if int(owner) != group:
                    continue
                if name == STEP:
                    found[name] = part.get_tensor(key)
                    continue
                target = found.setdefault(name, torch.zeros(mine))
                start = number * size + begin - first
                target[start : start + end - begin] = part.get_slice(key)[begin:end]
    return found


def opened(state: Place, rank: int) -> Any:
    """The part that worker `rank` wrote, open for reading."""
    folder = state.location(part_name(rank))
    if folder is None:
        raise TrainingError(f"training: {state.url}: holds no {part_name(rank)}; all nodes must reach it (`root:`)")
    return safe_open(local_folder(folder) / FILE, "pt")
