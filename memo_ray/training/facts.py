"""The figures of a finished training, from its history."""

from __future__ import annotations

from typing import Any

from memo_ray.training.checkpoints import History


def facts_of(history: History) -> dict[str, Any]:
    """What the artefact's record says: losses by step and epoch, tokens, speed, and how often it was resumed.

    `final_loss` is the last epoch's mean over its answer tokens. `tokens_per_second` counts tokens of examples, not
    padding, over the time of the steps alone; starting and waiting for saves are beside it, in seconds. `resumed_from`:
    steps that had been taken each time.
    """
    epochs = history.epochs
    tokens, padded = sum(epoch.tokens for epoch in epochs), sum(epoch.padded_tokens for epoch in epochs)
    steps, seconds = sum(len(epoch.losses) for epoch in epochs), sum(epoch.seconds for epoch in epochs)
    return {
        "steps": steps,
        "loss_by_step": [round(loss, 6) for epoch in epochs for loss in epoch.losses],
        "loss_by_epoch": [epoch.loss for epoch in epochs],
        "final_loss": epochs[-1].loss,
        "tokens": tokens,
        "answer_tokens": sum(epoch.answer_tokens for epoch in epochs),
        "pad_share": round(1 - tokens / padded, 4),
        "tokens_per_second": round(tokens / seconds, 1),
        "seconds_per_step": round(seconds / steps, 4),
        "training_seconds": round(seconds, 3),
        "saving_seconds": round(sum(epoch.saving_seconds for epoch in epochs), 3),
        "starting_seconds": round(history.start_seconds, 3),
        "skipped_steps": sum(epoch.skipped_steps for epoch in epochs),
        "workers": history.workers,
        "packed": history.packed,
        "resumed_from": history.resumed_from,
    }
