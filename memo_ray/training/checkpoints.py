"""What training leaves behind: a model folder an epoch, resumable state, and the history of both.

All of it lies in the attempt's progress, on a disk or on S3. A model folder is stored as a whole, and state is complete
once its history is there, which is written last. So what a killed worker half wrote is never taken for finished.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memo_ray.artifacts.place import Place

if TYPE_CHECKING:
    import torch

    from memo_ray.config.training import TrainingConfig

HISTORY = "history.json"
MODELS, EPOCH = "models", "epoch-"
"""Where the model folders lie, and how each begins; its number follows."""
STATE = "step-"
"""How the folder of a resumable state begins; the steps taken follow."""


@dataclass
class Epoch:
    """One pass over the reflections. `losses`: mean over the answer tokens of each step. `seconds`: of its steps.

    `tokens` are those of examples, `padded_tokens` those computed. `skipped_steps`: gradients were not finite.
    `study`: it was a pass over what was wrong. `wrong`: reflections that the memory got wrong after it; None where
    nobody looked, which takes `looking_seconds`.
    """

    losses: list[float] = field(default_factory=list)
    loss: float = 0.0
    tokens: int = 0
    padded_tokens: int = 0
    answer_tokens: int = 0
    skipped_steps: int = 0
    seconds: float = 0.0
    saving_seconds: float = 0.0
    study: bool = False
    wrong: int | None = None
    looking_seconds: float = 0.0


@dataclass
class History:
    """The epochs trained so far, by how many workers, and after how many steps a run was resumed.

    `begun`: the epoch that is under way, whose tokens are those of all workers. `packed`: whether rows were packed.
    """

    workers: int
    epochs: list[Epoch] = field(default_factory=list)
    begun: Epoch | None = None
    resumed_from: list[int] = field(default_factory=list)
    packed: bool = True
    start_seconds: float = 0.0

    @property
    def steps(self) -> int:
        """Optimiser steps taken so far."""
        return sum(len(epoch.losses) for epoch in [*self.epochs, *([self.begun] if self.begun else [])])

    def ended(self, config: TrainingConfig) -> bool:
        """Whether nothing is left to do: the last epoch is trained and, with study, nothing wrong is left to study."""
        done = len(self.epochs)
        if config.study is None or done < config.epochs:
            return done >= config.epochs
        wrong = self.epochs[-1].wrong
        return wrong == 0 or (wrong is not None and done >= config.epochs + config.study.epochs)

    def unseen(self, config: TrainingConfig) -> bool:
        """Whether it must be seen what is wrong, before a pass of study or after the last one."""
        trained = self.begun is None and len(self.epochs) >= config.epochs
        return config.study is not None and trained and self.epochs[-1].wrong is None

    def content(self) -> bytes:
        """What is stored."""
        return json.dumps(asdict(self)).encode()

    def save(self, place: Place) -> None:
        """Put this history into `place`, in one step."""
        place.put(HISTORY, self.content())

    @classmethod
    def load(cls, place: Place) -> History | None:
        """The history in `place`; None when there is none."""
        content = place.get(HISTORY)
        if content is None:
            return None
        saved = json.loads(content)
        begun = saved["begun"] and Epoch(**saved["begun"])
        return cls(**saved | {"epochs": [Epoch(**epoch) for epoch in saved["epochs"]], "begun": begun})


def newest_state(states: Place) -> Place | None:
    """The complete state below `states` with the most steps; None when there is none."""
    found = {name: History.load(states.child(name)) for name in states.folders() if name.startswith(STATE)}
    steps = {name: history.steps for name, history in found.items() if history}
    return states.child(max(steps, key=lambda name: steps[name])) if steps else None


def remove_states(states: Place, but: Place | None) -> None:
    """Remove every state below `states` but one: what else there is, is half written or outdated."""
    for name in states.folders():
        if name.startswith(STATE) and (but is None or states.child(name).url != but.url):
            states.child(name).remove(HISTORY)  # first, so that nothing that is half removed is taken for complete
            states.remove(name)


def kept_epochs(config: TrainingConfig, done: int) -> range:
    """The epochs (from 1) whose model folders stay when so many are `done`."""
    return range(max(1, done - (config.keep_epochs or done) + 1), done + 1)


def remove_models(progress: Place, but: range) -> None:
    """Remove the model folders of the epochs before those that stay."""
    for name in progress.child(MODELS).folders():
        if name.startswith(EPOCH) and int(name.removeprefix(EPOCH)) < but.start:
            progress.remove(f"{MODELS}/{name}")


def tied_names(model: Any) -> dict[str, str]:
    """The weights that share memory with one that comes before them: their names, and its."""
    first: dict[int, str] = {}
    found = {name: first.setdefault(value.data_ptr(), name) for name, value in model.state_dict().items()}
    return {name: other for name, other in found.items() if name != other}


def stored_type(base: Path, model: Any) -> torch.dtype:
    """The type in which a memory's weights are stored: its base's own."""
    from transformers import AutoConfig

    dtype: Any = AutoConfig.from_pretrained(base).dtype or model.dtype
    return dtype


def save_tokenizer(base: Path, folder: Path) -> None:
    """Write what a model folder holds beside model and config: the base's tokenizer and generation config."""
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    if (base / "generation_config.json").is_file():
        shutil.copyfile(base / "generation_config.json", folder / "generation_config.json")


def save_model(model: Any, folder: Path, weights: dict[str, torch.Tensor], tokenizer: Path) -> None:
    """Write a Hugging Face folder: the `weights` as safetensors, config, and what is in the folder `tokenizer`.

    It is called beside steps, so it computes as little as it can: Python runs one thread at a time.
    """
    from transformers import GenerationConfig

    kept = model.generation_config
    model.generation_config = GenerationConfig()  # its check on writing refuses what many published models ship
    model.save_pretrained(folder, state_dict=weights)
    model.generation_config = kept
    dtype = next(iter(weights.values())).dtype
    _set_dtype(folder / "config.json", str(dtype).removeprefix("torch."))
    shutil.copytree(tokenizer, folder, dirs_exist_ok=True)


def _set_dtype(path: Path, dtype: str) -> None:
    content = json.loads(path.read_text()) | {"dtype": dtype}
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
