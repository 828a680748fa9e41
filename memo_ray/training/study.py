"""A pass over what a memory still gets wrong: which reflections those are, and the steps that over-sample them.

Wrong is a reflection whose trained answer greedy decoding would not give. One forward pass shows it: given the answer
so far, the likeliest token is another one than the answer's at some place. No engine is needed, and no tolerance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from memo_ray.artifacts.place import Place
from memo_ray.training.batches import make_batch
from memo_ray.training.examples import Examples
from memo_ray.training.loading import Loaded
from memo_ray.training.packing import Layout, share_out

AT_ONCE = 4096
"""So many reflections are shared out to rows at a time."""


def study_steps(
    wrong: Sequence[int], examples: int, times: int, per_step: int, seed: int, epoch: int
) -> list[list[int]]:
    """The examples of every step of a pass, `epoch` (from 0), over the `wrong` ones of so many `examples`.

    Each of them comes `times` times, once in each of as many shuffles. As many others are drawn and shared out to the
    shuffles, so that studying forgets nothing; each comes at most once.
    """
    draw = np.random.default_rng([seed, epoch])
    others = draw.permutation(np.setdiff1d(np.arange(examples), wrong))[: times * len(wrong)]
    order: list[int] = []
    for some in np.array_split(others, times):
        order += draw.permutation(np.concatenate([np.asarray(wrong, dtype=np.int64), some])).tolist()
    return [order[start : start + per_step] for start in range(0, len(order), per_step)]


def still_wrong(loaded: Loaded, chosen: Sequence[int], examples: Examples, layout: Layout, pad: int) -> list[int]:
    """Those of the examples `chosen` whose answer is not the likeliest token at every place, in their order."""
    loss, attention = loaded.loss, loaded.attention
    device = next(loss.parameters()).device
    lengths, answers = examples.lengths.tolist(), examples.answer_tokens.tolist()
    found: set[int] = set()
    training = loss.training
    loss.eval()
    with torch.no_grad():
        for start in range(0, len(chosen), AT_ONCE):
            for rows in share_out(chosen[start : start + AT_ONCE], lengths, layout, 1)[0]:
                batch = make_batch(rows, examples, pad, flat=attention.flat, device=device, segments=attention.segments)
                right = (loss.likeliest(batch) == batch.targets).tolist()
                place = 0
                for index in (index for row in rows for index in row):
                    end = place + answers[index]
                    if not all(right[place:end]):
                        found.add(index)
                    place = end
    loss.train(training)
    return [index for index in chosen if index in found]


class Wrong:
    """What is wrong after an epoch, for all workers alike: looked for by all of them once, and kept in the progress.

    What is kept holds from then on. So a run that is resumed studies the same, on any number of workers, though another
    order of sums may turn a token that was nearly as likely. `shared` gives rank 0's value to every worker.
    """

    def __init__(
        self, progress: Place, loaded: Loaded, examples: Examples, layout: Layout, pad: int,
        shared: Callable[[Any], Any],
    ) -> None:  # fmt: skip
        self.progress, self.loaded, self.examples = progress, loaded, examples
        self.layout, self.pad, self.shared = layout, pad, shared

    def after(self, epoch: int) -> list[int]:
        """The wrong examples after `epoch` (from 1), in ascending order. All workers call this."""
        rank, world = dist.get_rank(), dist.get_world_size()
        name = f"wrong-after-epoch-{epoch}.json"
        kept = self.shared(self.progress.get(name) if rank == 0 else None)
        if kept is not None:
            return list(json.loads(kept)["examples"])
        mine = still_wrong(self.loaded, range(rank, len(self.examples), world), self.examples, self.layout, self.pad)
        parts: list[Any] = [None] * world
        dist.all_gather_object(parts, mine)
        found = sorted(index for part in parts for index in part)
        if rank == 0:
            names = [self.examples.name(index) for index in found]
            self.progress.put(name, json.dumps({"examples": found, "reflections": names}).encode())
        return found
