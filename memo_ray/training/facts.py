"""The figures of a finished training, from its history."""

from __future__ import annotations

from typing import Any

from memo_ray.training.checkpoints import History


def facts_of(history: History) -> dict[str, Any]:
    """What the artefact's record says: losses by step and epoch, tokens, speed, and how often it was resumed.

    `final_loss` is the mean over the answer tokens of the last epoch that took every reflection once. `study`, where it
    was asked for: its `epochs` (from 1), how many reflections were wrong before it and after it, and its `seconds`,
    with looking. `tokens_per_second` counts tokens of examples, not
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
        "final_loss": [epoch.loss for epoch in epochs if not epoch.study][-1],
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
    } | _study(history)


def _study(history: History) -> dict[str, Any]:
    wrong = [epoch.wrong for epoch in history.epochs if epoch.wrong is not None]
    if not wrong:
        return {}
    seconds = sum(epoch.looking_seconds + (epoch.seconds if epoch.study else 0) for epoch in history.epochs)
    return {
        "study": {
            "epochs": [number for number, epoch in enumerate(history.epochs, 1) if epoch.study],
            "wrong_before": wrong[0],
            "wrong_after": wrong[-1],
            "seconds": round(seconds, 3),
        }
    }
