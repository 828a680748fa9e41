"""Whether memories can be merged, told from their configurations, tokenizers and safetensors headers alone.

In go the folders of the base and of the memories; out comes `Inputs`, what a merge needs to know about them, or a
MergeError that names the folders and what to do. No weights are read, except that a tied tensor which a folder
stores twice is compared with its twin.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memo_ray.errors import MergeError
from memo_ray.merging.alike import alike, may_differ
from memo_ray.merging.headers import DTYPES, Tensor, read_tensors
from memo_ray.merging.tokenizer import first_line, same_tokenizers

if TYPE_CHECKING:
    from memo_ray.merging.adapters import Adapter


@dataclass(frozen=True)
class Inputs:
    """A base and its memories that passed every check."""

    base: Path
    memories: dict[str, Path]
    base_tensors: dict[str, Tensor]
    memory_tensors: list[dict[str, Tensor]]
    """In the order of `memories`."""
    dtype: str
    """The memories' number format, and the merge's: a name such as `bfloat16`."""
    cast_base: bool
    """The base is stored in another format: what the memories started from is the base in theirs."""
    adapters: list[Adapter] = field(default_factory=list)
    """Of LoRA memories that are merged as adapters, in the order of `memories`."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors to merge, as the memories store them."""
        return self.memory_tensors[0]

    @property
    def disk_bytes(self) -> int:
        """What one merged model's weights take on disk."""
        return sum(tensor.end - tensor.start for tensor in self.tensors.values())

    @property
    def folder_bytes(self) -> int:
        """The same with its tokenizer and headers, at most."""
        return self.disk_bytes + self.disk_bytes // 20 + 50_000_000


def check(base: Path, memories: Mapping[str, Path], *, adapters: bool = False) -> Inputs:
    """What a merge of `memories` over their common `base` needs to know. Raises MergeError when it cannot be done.

    `base` must have their architecture, settings, tensors, tokenizer and chat template; that its weights are what they
    were fine-tuned from, `origin` tells. Its number format may be another, since training chooses its own.
    `adapters`: the memories must have one each.
    """
    folders = {"base": base, **{f"memory {name}": path for name, path in memories.items()}}
    _distinct(folders)
    for folder in folders.values():
        if not (folder / "config.json").is_file():
            raise MergeError(f"{folder}: holds no config.json; give the folder of a Hugging Face model on this machine")
    stored = {folder: read_tensors(folder) for folder in folders.values()}
    parameters, tied = set[str](), dict[str, str]()
    if not alike(base, memories.values(), stored):
        parameters, tied = _architecture(base)
        for folder in memories.values():
            _same_config(base, folder)
        same_tokenizers(base, memories.values())
    # From headers alone, before a tied tensor is compared with its twin.
    shared = set.intersection(*(set(tensors) for tensors in stored.values()))
    for folder in memories.values():
        _same_shapes(base, stored[base], folder, {name: stored[folder][name] for name in shared})
    _known_formats(base, {folder: {tensors[name].dtype for name in shared} for folder, tensors in stored.items()})
    for folder, tensors in stored.items():
        _drop_tied(folder, tensors, tied)
    for folder in memories.values():
        _same_names(base, stored[base], folder, stored[folder], parameters)
    return describe(base, memories, stored[next(iter(memories.values()))].keys(), adapters=adapters)


def describe(base: Path, memories: Mapping[str, Path], names: Collection[str], *, adapters: bool = False) -> Inputs:
    """The last part of `check`, from headers alone, for folders that passed the rest: `names` are to be merged."""
    base_tensors, *of_memories = (
        {name: tensor for name, tensor in read_tensors(folder).items() if name in names}
        for folder in (base, *memories.values())
    )
    for folder, tensors in zip(memories.values(), of_memories, strict=True):
        _same_shapes(base, base_tensors, folder, tensors)
    formats = {
        folder: {tensor.dtype for tensor in tensors.values()}
        for folder, tensors in zip((base, *memories.values()), (base_tensors, *of_memories), strict=True)
    }
    _known_formats(base, formats)
    (dtype,) = formats[next(iter(memories.values()))]
    low_rank = []
    if adapters:
        from memo_ray.merging.adapters import read_adapters

        low_rank = read_adapters(base_tensors, memories)
    cast = formats[base] != {dtype}
    return Inputs(base, dict(memories), base_tensors, of_memories, DTYPES[dtype], cast, low_rank)


def check_bases(base: str, digest: str, trained: Mapping[str, str]) -> None:
    """Raise MergeError for a memory whose record holds another base's digest; `trained`: digests by memory."""
    for name, found in trained.items():
        if found != digest:
            raise MergeError(
                f"merging: the memory {name} was trained from another base than training.base ({base}); "
                "train it again from this one"
            )


def check_disk(folder: Path, needed: int) -> None:
    """Raise MergeError unless the disk under `folder` has `needed` bytes free."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MergeError(
            f"{folder}: a merge needs {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free; free space or use a "
            "larger disk (a run's `root:`; with a root on S3, TMPDIR of the node)"
        )


def _distinct(folders: Mapping[str, Path]) -> None:
    if len(folders) < 3:
        raise MergeError("a merge needs two or more memories")
    seen: dict[Path, str] = {}
    for name, folder in folders.items():
        other = seen.setdefault(folder.resolve(), name)
        if other != name:
            raise MergeError(f"{folder}: is given as {other} and as {name}; every input needs a folder of its own")


def _load_config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # noqa: BLE001  # a damaged file raises whatever its reader stumbles over
        raise MergeError(f"{folder / 'config.json'}: cannot be read ({first_line(error)})") from None


def _architecture(base: Path) -> tuple[set[str], dict[str, str]]:
    """The names of the base's parameters, and which of them (keys) are tied to which other (values)."""
    import torch
    from transformers import AutoModelForCausalLM

    config = _load_config(base)
    if getattr(config, "quantization_config", None):
        raise MergeError(f"{base}: is quantised; merge the model it was made from")
    if len(config.architectures or []) != 1:
        raise MergeError(f"{base / 'config.json'}: must name one class in `architectures`, has {config.architectures}")
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except ValueError:
        raise MergeError(f"{base}: {config.architectures[0]} is no causal language model; use one as base") from None
    except Exception as error:  # noqa: BLE001  # as settings that no model has
        raise MergeError(f"{base / 'config.json'}: describes no model ({first_line(error)}); save it again") from None
    return set(model.state_dict()), dict(model.all_tied_weights_keys)


def _same_config(base: Path, memory: Path) -> None:
    of_base, of_memory = _load_config(base), _load_config(memory)
    if of_base.architectures != of_memory.architectures:
        raise MergeError(
            f"{memory}: has the architecture {of_memory.architectures}, its base {base} {of_base.architectures}; "
            "merge only memories that were fine-tuned from this base"
        )
    left, right = of_base.to_dict(), of_memory.to_dict()
    different = [
        key for key in sorted(left.keys() | right.keys()) if left.get(key) != right.get(key) and not may_differ(key)
    ]
    if different:
        key = different[0]
        raise MergeError(
            f"{memory / 'config.json'}: {key} is {right.get(key)}, in its base {base} {left.get(key)}; "
            "merge only memories that were fine-tuned from this base"
        )


def _drop_tied(folder: Path, tensors: dict[str, Tensor], tied: Mapping[str, str]) -> None:
    """Forget tied tensors that a folder stores a second time: merged on their own, they would no longer be tied."""
    for name, source in tied.items():
        if name not in tensors:
            continue
        if source not in tensors:
            raise MergeError(f"{folder}: stores the tied {source} only as {name}; load and save it with transformers")
        if not _equal(tensors[name], tensors[source]):
            raise MergeError(
                f"{folder}: config.json ties {name} to {source}, but the two differ; "
                "fine-tune again with tied weights, or from a base with tie_word_embeddings: false"
            )
        del tensors[name]


def _equal(one: Tensor, other: Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    step = 1 << 24
    with one.file.open("rb") as left, other.file.open("rb") as right:
        left.seek(one.start)
        right.seek(other.start)
        return all(
            left.read(min(step, one.end - at)) == right.read(min(step, one.end - at))
            for at in range(one.start, one.end, step)
        )


def _same_names(
    base: Path, of_base: Mapping[str, Tensor], memory: Path, of_memory: Mapping[str, Tensor], parameters: set[str]
) -> None:
    # A base from an old release may store buffers that today's architectures no longer have; those may be missing.
    missing = sorted((of_base.keys() & parameters) - of_memory.keys())
    extra = sorted(of_memory.keys() - of_base.keys())
    if missing or extra:
        what = f"lacks {missing[0]}" if missing else f"has {extra[0]}"
        raise MergeError(f"{memory}: {what}, unlike its base {base}; merge only full models fine-tuned from this base")


def _same_shapes(base: Path, of_base: Mapping[str, Tensor], memory: Path, of_memory: Mapping[str, Tensor]) -> None:
    for name, tensor in of_memory.items():
        expected = of_base[name]
        if tensor.shape != expected.shape:
            raise MergeError(
                f"{memory}: {name} has the shape {list(tensor.shape)}, in its base {base} {list(expected.shape)}; "
                "merge only memories that were fine-tuned from this base"
            )


def _known_formats(base: Path, formats: Mapping[Path, set[str]]) -> None:
    """Every memory must be stored in one format, all in the same; the base in any mix of those that are known."""
    first: Path | None = None
    for folder, found in formats.items():
        if found - DTYPES.keys() or (folder != base and len(found) > 1):
            raise MergeError(
                f"{folder}: stores its tensors as {', '.join(sorted(found))}; merging takes one of "
                f"{', '.join(DTYPES)}, so save the model in one of them"
            )
        if folder != base:
            first = first or folder
            if found != formats[first]:
                raise MergeError(
                    f"{folder}: is stored as {found.pop()}, {first} as {formats[first].pop()}; "
                    "save all memories in the same number format"
                )
